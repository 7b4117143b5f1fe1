"""A worker whose GPU cannot be used refuses jobs for GPUs, before the claim, and asks RunPod to replace it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.fake_tunebase import FakeTunebase, run_input

from handler import handler
from tunebase_trainer.worker import process, readiness

GPU = {"gpu_type": "A100-80GB", "num_gpus": 1, "gpu_memory_gb": 80, "cost_per_gpu_hour": 1}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_checks", None)


async def test_a_worker_without_a_gpu_refuses_a_job_for_one_before_the_claim(
    tunebase: FakeTunebase, tiny_model: Path
) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    output = await handler({"id": "run-1", "input": {**run_input(tunebase, str(tiny_model)), "gpu_config": GPU}})
    assert output["error_code"] == "gpu_unavailable" and output["refresh_worker"] is True
    assert output["error"] == (
        "gpu_type = A100-80GB: this worker has no GPU (no NVIDIA driver; this machine trains on its CPU)."
    )
    assert tunebase.calls == [], "another worker can claim the attempt"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('[{"name": "cuda", "status": "failed", "found": "GPU 0: a product is wrong", "advice": "Use another host."}]',
         "This worker cannot use its GPU: GPU 0: a product is wrong."),
        ("Traceback", "This worker cannot use its GPU: the self-test ended with status 0 (JSONDecodeError)."),
    ],
)  # fmt: skip
async def test_a_failed_or_broken_selftest_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tunebase: FakeTunebase, tiny_model: Path, script: str, found: str
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{script}\nEND\n")
    fake.chmod(0o755)
    monkeypatch.setattr(readiness.sys, "executable", str(fake))  # type: ignore[attr-defined]
    output = await handler({"id": "run-1", "input": {**run_input(tunebase, str(tiny_model)), "gpu_config": GPU}})
    assert (output["error_code"], output["error"]) == ("gpu_unavailable", found)


async def test_a_selftest_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(readiness.sys, "executable", str(fake))  # type: ignore[attr-defined]
    monkeypatch.setattr(readiness, "TIMEOUT_SECONDS", 0.2)
    (check,) = await readiness.selftest()
    assert check["found"] == "the self-test did not end within 0.2 s"


def test_the_training_sees_only_the_gpus_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert process.training_environment(2)["CUDA_VISIBLE_DEVICES"] == "0,1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    assert process.training_environment(1)["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert process.training_environment()["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b,GPU-c"


def test_the_training_gets_the_settings_of_cuda_and_the_hub_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name.startswith(("HF_", "PYTORCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NCCL_P2P_DISABLE", "1")
    monkeypatch.setenv("HF_XET_HIGH_PERFORMANCE", "1")
    monkeypatch.setenv("RUNPOD_AI_API_KEY", "secret")
    environment = process.training_environment(1)
    assert environment["NCCL_P2P_DISABLE"] == environment["HF_XET_HIGH_PERFORMANCE"] == "1"
    assert environment["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "secret" not in environment.values() and "HF_HUB_CACHE" not in environment
    monkeypatch.setattr(process, "VOLUME", tmp_path)
    assert process.training_environment(1)["HF_HUB_CACHE"] == f"{tmp_path}/huggingface-cache/hub"
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    assert "HF_HUB_CACHE" not in process.training_environment(1)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:native")
    assert "PYTORCH_ALLOC_CONF" not in process.training_environment(1)


def collect_warnings(lines: list[str]) -> list[str]:
    training: Any = process.TrainingProcess.__new__(process.TrainingProcess)
    training.warnings = []
    for line in lines:
        training._keep_warning(line)
    return list(training.warnings)


def test_what_libraries_say_about_slow_kernels_is_kept_once() -> None:
    slow = "The fast path is not available because one of the required library is not installed. Falling back to torch."
    assert collect_warnings(["loading", slow, slow, "step 1"]) == [slow]
    assert len(collect_warnings([f"{slow} {i}" for i in range(20)])) == process.MAX_WARNINGS
