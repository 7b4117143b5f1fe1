"""Tests the worker on any machine in under a minute: no GPU, no model, no network, no RunPod account.

    python test_locally.py [input_validation] [handler_structure] [status_manager] [response_formats]

Without a name, all four suites run. Needs requirements.txt, but no development requirements. The exit status is 0 if
every test passed. tests/ has the in-depth tests.
"""

from __future__ import annotations

import argparse
import copy
import functools
import http.server
import inspect
import io
import json
import logging
import os
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import handler as worker
from status_manager import StatusManager
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.text import counted
from tunebase_trainer.worker import outputs
from tunebase_trainer.worker.protocol import AdapterUploaded, Manifest, parse_input

JOB_ID = "01234567-89ab-7def-8123-456789abcdef"
VALID: dict[str, Any] = {
    "job_id": JOB_ID,
    "attempt": 1,
    "dataset_url": "https://example.com/rows.jsonl",
    "validation_url": None,
    "hyperparameters": {
        "base_model": "Qwen/Qwen3-Next-80B-A3B-Instruct",
        "learning_rate": 2e-4,
        "batch_size": 4,
        "num_epochs": 3,
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "warmup_steps": None,
        "weight_decay": 0.0,
        "max_length": 2048,
        "seed": 42,
    },
    "gpu_config": {"gpu_type": "A100-80GB", "num_gpus": 1, "gpu_memory_gb": 80, "cost_per_gpu_hour": 3.5},
    "callback_url": "https://example.com/callback",
    "callback_secret": "whsec_AAAA",
}
# The lowest and highest value of each range, and values outside of it.
RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    "hyperparameters.learning_rate": ([1e-6, 1e-3], [9e-7, 2e-3, 0, -1e-4]),
    "hyperparameters.batch_size": ([1, 64], [0, 65]),
    "hyperparameters.num_epochs": ([1, 20], [0, 21]),
    "hyperparameters.lora_rank": ([4, 8, 128], [3, 129]),
    "hyperparameters.lora_alpha": ([8, 256], [7, 257]),
    "hyperparameters.lora_dropout": ([0, 0.1], [-0.01, 0.11]),
    "gpu_config.num_gpus": ([1, 8], [0, 9]),
}
REQUIRED = ("job_id", "dataset_url", "hyperparameters", "gpu_config", "hyperparameters.base_model",
            "hyperparameters.learning_rate", "hyperparameters.batch_size", "hyperparameters.num_epochs",
            "hyperparameters.lora_rank", "hyperparameters.lora_alpha", "gpu_config.gpu_type")  # fmt: skip
MANIFEST = Manifest.model_validate(
    {
        "base_model": "tiny",
        "base_revision": None,
        "files": [{"path": "adapter_model.safetensors", "bytes": 1, "sha256": "0" * 64}],
        "trained_tokens": 100,
        "steps": 2,
        "first_loss": 2.0,
        "last_loss": 1.0,
        "hyperparameters": VALID["hyperparameters"],
        "trainable_parameters": 10,
        "dataset_sha256": "0" * 64,
        "rows": 1,
        "versions": {},
    }
)
# Implements the contract of tunebase_trainer/worker/process.py without training anything.
STUB_TRAINING = """
import json, os, sys
from pathlib import Path
spec = json.loads(Path(sys.argv[1]).read_text())
events = os.fdopen(int(os.environ["TUNEBASE_EVENTS_FD"]), "w", buffering=1)
def emit(kind, **fields): print(json.dumps({"type": kind, **fields}), file=events)
if "crash" in Path(spec["dataset"]).read_text():
    sys.exit("it crashed")
emit("stage", stage="training", progress=10)
emit("step", step=1, epoch=1.0, training_loss=1.5, learning_rate=1e-4, gradient_norm=1.0, tokens_per_second=9.0,
     total_steps=1, trained_tokens=10, seconds_left=0.0, progress=92)
output = Path(spec["output"])
output.mkdir()
(output / "adapter_config.json").write_text("{}")
(output / "adapter_model.safetensors").write_bytes(b"weights")
emit("result", base_model="tiny", base_revision=None, rows=1, steps=1, first_loss=1.5, last_loss=1.5,
     trained_tokens=10, trainable_parameters=1, versions={})
"""


def changed(path: str, value: Any) -> dict[str, Any]:
    """The valid input with one field changed."""
    made = copy.deepcopy(VALID)
    *parents, name = path.split(".")
    functools.reduce(lambda fields, parent: fields[parent], parents, made)[name] = value
    return made


def without(path: str) -> dict[str, Any]:
    made = copy.deepcopy(VALID)
    *parents, name = path.split(".")
    del functools.reduce(lambda fields, parent: fields[parent], parents, made)[name]
    return made


class InputValidation(unittest.TestCase):
    """Valid input passes; missing fields and values out of range are rejected by name."""

    def rejected(self, given: Any) -> str:
        with self.assertRaises(TrainerError) as caught:
            parse_input(given)
        self.assertEqual(caught.exception.code, "invalid_input")
        return caught.exception.message

    def test_valid_input_passes(self) -> None:
        run = parse_input(VALID)
        self.assertEqual((run.job_id, run.hyperparameters.lora_rank, run.gpu_config.num_gpus), (JOB_ID, 16, 1))

    def test_the_callback_is_optional(self) -> None:
        direct = {name: value for name, value in VALID.items() if not name.startswith("callback_")}
        self.assertIsNone(parse_input(direct).callback_url)

    def test_older_names_are_accepted(self) -> None:
        given = copy.deepcopy(VALID)
        hyper, gpu = given["hyperparameters"], given["gpu_config"]
        for new, old in (("num_epochs", "epochs"), ("lora_rank", "rank"), ("lora_alpha", "alpha"),
                         ("lora_dropout", "dropout")):  # fmt: skip
            hyper[old] = hyper.pop(new)
        gpu["type"], gpu["count"] = gpu.pop("gpu_type"), gpu.pop("num_gpus")
        run = parse_input(given)
        self.assertEqual((run.hyperparameters.num_epochs, run.hyperparameters.lora_alpha), (3, 32))
        self.assertEqual((run.gpu_config.gpu_type, run.gpu_config.num_gpus), ("A100-80GB", 1))

    def test_each_missing_field_is_named(self) -> None:
        for path in REQUIRED:
            with self.subTest(path):
                self.assertIn(f"{path} is required", self.rejected(without(path)))

    def test_each_range_includes_its_ends(self) -> None:
        for path, (inside, _) in RANGES.items():
            for value in inside:
                with self.subTest(path, value=value):
                    parse_input(changed(path, value))

    def test_each_range_rejects_what_is_outside_with_field_value_and_limit(self) -> None:
        for path, (_, outside) in RANGES.items():
            for value in outside:
                with self.subTest(path, value=value):
                    message = self.rejected(changed(path, value))
                    self.assertIn(f"{path} = {str(value)!r}", message)
                    self.assertIn("than or equal to", message)

    def test_urls_must_be_https(self) -> None:
        for path in ("dataset_url", "validation_url", "callback_url"):
            for url in ("http://example.com/x", "file:///etc/passwd", "example.com"):
                with self.subTest(path, url=url):
                    self.assertIn(path, self.rejected(changed(path, url)))

    def test_input_that_is_no_object_is_rejected(self) -> None:
        invalid: tuple[Any, ...] = (None, [], "text", 5)
        for given in invalid:
            with self.subTest(given=given):
                self.rejected(given)


class HandlerStructure(unittest.IsolatedAsyncioTestCase):
    """A mock event goes through the handler; its response has the documented structure, and errors are handled."""

    def setUp(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (directory / "stub.py").write_text(STUB_TRAINING)
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        (directory / "rows.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
        (directory / "crash.jsonl").write_text("crash\n")
        quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=directory))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.enterContext(
            patch.dict(
                os.environ,
                TUNEBASE_ALLOW_LOOPBACK="1",
                TUNEBASE_WORK_DIR=str(directory / "work"),
                TUNEBASE_TRAIN_COMMAND=f"'{sys.executable}' '{directory / 'stub.py'}'",
            )
        )

    def event(self, file: str = "rows.jsonl", **changes: Any) -> dict[str, Any]:
        direct = {name: value for name, value in VALID.items() if not name.startswith("callback_")}
        # For a GPU model's event, a machine without a GPU would return `gpu_unavailable`.
        cpu = {"gpu_config": {"gpu_type": "cpu"}}
        return {"id": "runpod-1", "input": direct | cpu | {"dataset_url": f"{self.url}/{file}"} | changes}

    async def test_the_handler_is_async_and_takes_one_event(self) -> None:
        self.assertTrue(inspect.iscoroutinefunction(worker.handler))
        self.assertEqual(len(inspect.signature(worker.handler).parameters), 1)

    async def test_a_mock_event_returns_the_documented_structure(self) -> None:
        output = await worker.handler(self.event())
        self.assertEqual(output["status"], "completed", output)
        self.assertLessEqual({"job_id", "adapter_path", "metrics", "progress", "manifest"}, output.keys())
        self.assertEqual((output["job_id"], output["progress"], output["metrics"]["step"]), (JOB_ID, 100, 1))
        files = {file["path"] for file in output["manifest"]["files"]}
        self.assertEqual(files, {path.name for path in Path(output["adapter_path"]).iterdir()})
        json.dumps(output, allow_nan=False)

    async def test_the_status_manager_knows_the_job(self) -> None:
        await worker.handler(self.event())
        job = worker.jobs.get_status(JOB_ID)
        assert job is not None and job["metrics"] is not None
        self.assertEqual((job["status"], job["progress"], job["current_step"]), ("completed", 100, 1))
        self.assertEqual(job["metrics"]["training_loss"], 1.5)

    async def test_invalid_input_is_a_failure(self) -> None:
        output = await worker.handler(self.event(job_id="x"))
        self.assertEqual((output["status"], output["error_code"]), ("failed", "invalid_input"))

    async def test_an_event_without_input_is_a_failure(self) -> None:
        self.assertEqual((await worker.handler({"id": "runpod-1"}))["error_code"], "invalid_input")

    async def test_a_missing_dataset_is_a_failure_that_says_to_check_the_url(self) -> None:
        output = await worker.handler(self.event("missing.jsonl"))
        self.assertEqual((output["status"], output["error_code"]), ("failed", "dataset_unreachable"))
        self.assertIn("Check the dataset URL", output["hint"])

    async def test_a_crash_of_the_training_is_a_failure(self) -> None:
        output = await worker.handler(self.event("crash.jsonl"))
        self.assertEqual((output["status"], output["error_code"]), ("failed", "internal_error"))
        job = worker.jobs.get_status(JOB_ID)
        assert job is not None
        self.assertEqual((job["status"], job["error_code"]), ("failed", "internal_error"))


class StatusManagerSuite(unittest.TestCase):
    """Create, update, get, progress, filter by status, cleanup."""

    def setUp(self) -> None:
        self.jobs = StatusManager()
        self.jobs.create_job("job-1", total_epochs=3)

    def test_create(self) -> None:
        job = self.jobs.create_job("job-2")
        self.assertEqual((job["status"], job["progress"], job["metrics"]), ("queued", 0, None))

    def test_get(self) -> None:
        job = self.jobs.get_status("job-1")
        assert job is not None
        self.assertEqual(job["total_epochs"], 3)
        self.assertIsNone(self.jobs.get_status("unknown"))
        self.assertEqual(len(self.jobs.get_all_jobs()), 1)

    def test_update_status(self) -> None:
        job = self.jobs.update_status("job-1", "failed", error_code="disk_full", error_message="Full.")
        self.assertEqual((job["status"], job["error_code"]), ("failed", "disk_full"))
        with self.assertRaises(ValueError):
            self.jobs.update_status("job-1", "unknown")
        with self.assertRaises(KeyError):
            self.jobs.update_status("unknown", "running")

    def test_progress_never_falls(self) -> None:
        self.jobs.update_progress("job-1", 50, stage="training", current_step=5)
        job = self.jobs.update_progress("job-1", 30)
        self.assertEqual((job["progress"], job["stage"], job["current_step"]), (50, "training", 5))
        self.assertEqual(self.jobs.update_progress("job-1", 120)["progress"], 100)

    def test_metrics(self) -> None:
        job = self.jobs.update_metrics("job-1", {"training_loss": 0.5})
        self.assertEqual(job["metrics"], {"training_loss": 0.5})

    def test_filter_by_status(self) -> None:
        self.jobs.create_job("job-2")
        self.jobs.update_status("job-2", "running")
        self.assertEqual([job["job_id"] for job in self.jobs.get_jobs_by_status("running")], ["job-2"])

    def test_cleanup(self) -> None:
        self.jobs.update_status("job-1", "completed")
        self.jobs.create_job("job-2")
        self.assertEqual(self.jobs.cleanup(max_age_seconds=3600), 0)
        self.assertEqual(self.jobs.cleanup(max_age_seconds=0), 1)
        self.assertEqual([job["job_id"] for job in self.jobs.get_all_jobs()], ["job-2"])

    def test_threads(self) -> None:
        threads = [
            threading.Thread(target=lambda: [self.jobs.update_progress("job-1", n) for n in range(100)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        job = self.jobs.get_status("job-1")
        assert job is not None
        self.assertEqual((job["revision"], job["progress"]), (800, 99))


class ResponseFormats(unittest.TestCase):
    """The formats that RunPod shows: success, failure, progress, and runs that ended early."""

    def setUp(self) -> None:
        self.jobs = StatusManager()
        self.jobs.create_job(JOB_ID, total_epochs=3)
        self.jobs.update_progress(JOB_ID, 42, stage="training", current_epoch=1.5, current_step=30)
        self.job = self.jobs.update_metrics(JOB_ID, {"step": 30, "training_loss": 0.7})

    def test_success(self) -> None:
        output = outputs.completed(self.job, "/adapter", MANIFEST, None, None)
        self.assertEqual(set(output), {"status", "job_id", "adapter_path", "progress", "metrics", "manifest"})
        self.assertEqual((output["status"], output["progress"], output["adapter_path"]), ("completed", 100, "/adapter"))

    def test_success_of_a_direct_call(self) -> None:
        uploaded = AdapterUploaded(bytes=10, sha256="0" * 64)
        output = outputs.completed(self.job, "/adapter", MANIFEST, uploaded, "A warning.")
        self.assertEqual((output["adapter_uploaded"]["bytes"], output["warning"]), (10, "A warning."))

    def test_failure(self) -> None:
        output = outputs.failed(JOB_ID, TrainerError("out_of_memory", "Too large.", "Reduce batch_size."))
        self.assertEqual(set(output), {"status", "job_id", "error", "error_message", "error_code", "hint"})
        self.assertEqual((output["status"], output["error_code"]), ("failed", "out_of_memory"))
        self.assertEqual((output["error_message"], output["hint"]), ("Too large.", "Reduce batch_size."))

    def test_progress(self) -> None:
        output = outputs.progress(self.job)
        self.assertEqual(
            output,
            {
                "status": "running",
                "progress": 42,
                "current_epoch": 1.5,
                "current_step": 30,
                "stage": "training",
                "metrics": {"step": 30, "training_loss": 0.7},
            },
        )

    def test_ended_early(self) -> None:
        for status in ("cancelled", "paused", "preempted", "refused"):
            with self.subTest(status):
                output = outputs.ended(status, JOB_ID, "detail")
                self.assertEqual(output, {"status": status, "job_id": JOB_ID, "detail": "detail"})


SUITES: dict[str, type[unittest.TestCase]] = {
    "input_validation": InputValidation,
    "handler_structure": HandlerStructure,
    "status_manager": StatusManagerSuite,
    "response_formats": ResponseFormats,
}


def run_suite(name: str) -> tuple[int, int]:
    """Runs one suite and prints its result and details of failures. Returns how many tests passed and failed."""
    started, details = time.monotonic(), io.StringIO()
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(SUITES[name])
    result = unittest.TextTestRunner(stream=details, verbosity=0).run(tests)
    failed = len({str(test).partition(" [")[0] for test, _ in (*result.failures, *result.errors)})
    passed = result.testsRun - failed
    if failed:
        print(details.getvalue())
    verdict = "FAIL" if failed else "PASS"
    print(f"{verdict}  {name:<18} {passed} passed, {failed} failed  ({time.monotonic() - started:.1f} s)", flush=True)
    return passed, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    chosen = parser.parse_args().suites or list(SUITES)
    if unknown := [name for name in chosen if name not in SUITES]:
        parser.error(f"unknown suite {unknown[0]!r}; choose from {', '.join(SUITES)}")
    logging.disable(logging.CRITICAL)  # the worker logs the failures that the suites provoke
    results = [run_suite(name) for name in chosen]
    passed, failed = (sum(counts) for counts in zip(*results, strict=True))
    print(f"\n{passed} passed, {failed} failed in {counted(len(chosen), 'suite')}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
