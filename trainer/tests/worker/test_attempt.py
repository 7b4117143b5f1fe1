"""What an attempt does with directives, SIGTERM, checkpoints, and a Tunebase that cannot be reached.

The training is tests/stub_training.py, so that these take seconds; the last test does it all with train_lora.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from support.attempts import ended, quick, steps  # noqa: F401 (a fixture)
from support.fake_tunebase import FakeTunebase, run_input

from handler import handler
from tunebase_trainer.worker import adapter_upload

ADAPTER = ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]


def start(tunebase: FakeTunebase, **behave: Any) -> asyncio.Task[dict[str, Any]]:
    tunebase.serve("rows.jsonl", json.dumps({"extra_files": [], **behave}).encode())
    return asyncio.create_task(handler({"id": "rp-1", "input": run_input(tunebase, "base")}))


async def until(said: Callable[[], object]) -> None:
    for _ in range(400):
        if said():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come so far")


def trainings(tmp_path: Path) -> list[str]:
    """Processes that train below `tmp_path`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = process.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "spec.json" in text and str(tmp_path) in text:
            found.append(text)
    return found


async def test_a_run_uploads_the_adapter_with_its_manifest_last_has_it_verified_and_succeeds(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    output = await ended(start(tunebase), tmp_path)
    assert output["status"] == "completed"
    assert list(tunebase.stored) == ADAPTER
    assert tunebase.verified == ADAPTER[:2]
    assert json.loads(tunebase.stored["manifest.json"]) == output["manifest"] == tunebase.of("finish")[0]["manifest"]
    assert [file["path"] for file in output["manifest"]["files"]] == ADAPTER[:2]
    assert steps(tunebase) == list(range(1, 11))
    assert [name for name, _ in tunebase.calls][-1] == "finish"


async def test_each_file_of_the_artifact_is_uploaded_verified_and_in_the_manifest(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    output = await ended(start(tunebase, extra_files=["README.md", "unforeseen.txt"]), tmp_path)
    paths = ["README.md", *ADAPTER[:2], "unforeseen.txt"]
    assert [file["path"] for file in output["manifest"]["files"]] == paths
    assert (tunebase.verified, list(tunebase.stored)) == (paths, [*paths, "manifest.json"])


async def test_upload_targets_are_requested_when_training_starts_and_renewed_while_it_runs(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_upload, "TARGETS_SECONDS", 0.5)
    attempt = start(tunebase, steps=200, seconds=0.02)
    await until(lambda: len(tunebase.of("uploads")) >= 3)
    ahead = [*adapter_upload.ADAPTER_FILES, *adapter_upload.EXTRA_FILES, "manifest.json"]
    assert all(body["paths"] == ahead for body in tunebase.of("uploads"))
    await ended(attempt, tmp_path)
    assert tunebase.of("uploads")[-1]["paths"] == ADAPTER, "in the end only what there is"


async def test_checkpoints_are_uploaded_verified_and_reported_while_training_continues(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    tunebase.claim = {"checkpoint_seconds": 1}
    attempt = start(tunebase, steps=120, seconds=0.05)
    await until(lambda: len(tunebase.reported("checkpoints")) >= 3)
    assert len(list((tmp_path / "work").glob("*/*/checkpoints/*"))) <= 2, "the newest, and one that is under way"
    assert (await ended(attempt, tmp_path))["status"] == "completed"
    for checkpoint in tunebase.reported("checkpoints"):
        paths = [f"checkpoints/{checkpoint['step']}/{name}" for name in ("adapter_model.safetensors", "state.json")]
        assert [file["path"] for file in checkpoint["files"]] == paths
        assert set(paths) <= set(tunebase.verified)
    assert steps(tunebase) == list(range(1, 121))


async def test_a_checkpoint_that_cannot_be_uploaded_is_a_warning_and_no_failure(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunebase.claim = {"checkpoint_seconds": 1}
    tunebase.storage_status = 403
    attempt = start(tunebase, steps=80, seconds=0.05)
    await until(lambda: [event for event in tunebase.reported("events") if event["level"] == "warn"])
    tunebase.storage_status = None
    assert (await ended(attempt, tmp_path))["status"] == "completed"
    warning = next(event for event in tunebase.reported("events") if event["level"] == "warn")
    assert "could not be uploaded: checkpoints/" in warning["message"] and "403" in warning["message"]


async def test_a_pause_saves_uploads_and_reports_a_checkpoint_from_which_a_resume_continues(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    attempt = start(tunebase, steps=40, seconds=0.25)  # slower than the directive travels
    await until(lambda: len(steps(tunebase)) >= 3)
    tunebase.directive = "pause"
    output = await ended(attempt, tmp_path)
    (checkpoint,) = tunebase.reported("checkpoints")
    at = checkpoint["step"]
    assert output == {"status": "paused", "job_id": output["job_id"], "detail": f"saved a checkpoint after step {at}"}
    assert [body["outcome"] for body in tunebase.of("finish")] == ["paused"]
    assert {file["path"] for file in checkpoint["files"]} == set(tunebase.verified) == set(tunebase.stored)
    assert steps(tunebase) == list(range(1, at + 1))

    tunebase.directive = "continue"
    tunebase.claim = {"resume": tunebase.resume_of(at), "fence": 2}
    reports = len(tunebase.of("report"))
    output = await ended(start(tunebase, steps=40), tmp_path)
    assert output["status"] == "completed"
    assert steps(tunebase) == list(range(1, 41)), "each step once"
    later = [body["trained_tokens"] for body in tunebase.of("report")[reports:]]
    assert later == sorted(later) and next(tokens for tokens in later if tokens) >= 100 * at


async def test_a_pause_before_the_first_step_ends_at_once_without_a_checkpoint(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    tunebase.directive = "pause"
    output = await ended(start(tunebase, before=60), tmp_path)
    assert (output["status"], output["detail"]) == ("paused", "no new checkpoint was saved")
    assert tunebase.stored == {}
    assert [body["outcome"] for body in tunebase.of("finish")] == ["paused"]


# @proves others-spot-recovery
async def test_sigterm_saves_a_checkpoint_ends_preempted_and_reaches_the_previous_handler(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        attempt = start(tunebase, steps=400)
        await until(lambda: len(steps(tunebase)) >= 3)
        os.kill(os.getpid(), signal.SIGTERM)
        output = await ended(attempt, tmp_path)
        assert heard == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(heard) == 2, "afterwards the signal is theirs alone"
    finally:
        signal.signal(signal.SIGTERM, before)
    (checkpoint,) = tunebase.reported("checkpoints")
    assert (output["status"], output["detail"]) == ("preempted", f"saved a checkpoint after step {checkpoint['step']}")
    (finish,) = tunebase.of("finish")
    assert (finish["outcome"], finish["reason"]) == ("preempted", "The platform stopped the worker (SIGTERM).")


async def test_a_run_near_its_time_limit_saves_a_checkpoint_and_ends_preempted(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    tunebase.serve("rows.jsonl", json.dumps({"steps": 4000}).encode())
    limited = run_input(tunebase, "base") | {"execution_timeout_seconds": 4}
    output = await ended(asyncio.create_task(handler({"id": "rp-1", "input": limited})), tmp_path)
    (checkpoint,) = tunebase.reported("checkpoints")
    assert (output["status"], output["detail"]) == ("preempted", f"saved a checkpoint after step {checkpoint['step']}")
    (finish,) = tunebase.of("finish")
    assert (finish["outcome"], finish["reason"]) == ("preempted", "The run approached its time limit of 4 seconds.")


async def test_sigterm_with_a_training_that_does_not_stop_ends_preempted_in_time(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBASE_SHUTDOWN_GRACE_SECONDS", "6")
    attempt = start(tunebase, steps=4000, deaf=True)
    await until(lambda: len(steps(tunebase)) >= 3)
    os.kill(os.getpid(), signal.SIGTERM)
    output = await asyncio.wait_for(asyncio.shield(attempt), 6)
    assert output["status"] == "preempted"
    assert trainings(tmp_path) == []
    await ended(attempt, tmp_path)


@pytest.mark.parametrize("name", ["report", "uploads"])
async def test_a_stop_kills_the_training_and_uploads_nothing_more(
    tunebase: FakeTunebase, tmp_path: Path, name: str
) -> None:
    attempt = start(tunebase, steps=100 if name == "report" else 10)
    if name == "report":
        await until(lambda: len(steps(tunebase)) >= 3)
        assert len(trainings(tmp_path)) == 1
    tunebase.directives = lambda called, body: "stop" if called == name else None
    output = await ended(attempt, tmp_path)
    assert output["status"] == "refused"
    assert trainings(tmp_path) == []
    assert tunebase.stored == {} and tunebase.of("finish") == []


async def test_a_cancel_kills_the_training_even_while_it_is_pausing(tunebase: FakeTunebase, tmp_path: Path) -> None:
    attempt = start(tunebase, steps=4000, deaf=True)
    await until(lambda: len(steps(tunebase)) >= 2)
    tunebase.directive = "pause"
    reports = len(tunebase.of("report"))
    await until(lambda: len(tunebase.of("report")) > reports + 1)
    tunebase.directive = "cancel"
    assert (await ended(attempt, tmp_path))["status"] == "cancelled"
    assert [body["outcome"] for body in tunebase.of("finish")] == ["cancelled"]
    assert trainings(tmp_path) == []


async def test_a_run_that_runpod_cancels_ends_within_seconds(tunebase: FakeTunebase, tmp_path: Path) -> None:
    attempt = start(tunebase, steps=4000, deaf=True)
    await until(lambda: len(steps(tunebase)) >= 2)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(attempt, 6)
    assert [body["outcome"] for body in tunebase.of("finish")] == ["cancelled"]
    assert trainings(tmp_path) == [] and not list((tmp_path / "work").iterdir())


async def test_an_outage_of_tunebase_loses_and_reorders_no_metrics(tunebase: FakeTunebase, tmp_path: Path) -> None:
    attempt = start(tunebase, steps=80, seconds=0.05)
    await until(lambda: len(steps(tunebase)) >= 3)
    tunebase.away = lambda name: True
    await asyncio.sleep(2.5)
    assert not attempt.done()
    before = len(steps(tunebase))
    tunebase.away = lambda name: False
    assert (await ended(attempt, tmp_path))["status"] == "completed"
    assert before < 40
    assert steps(tunebase) == list(range(1, 81))


async def test_when_tunebase_is_unreachable_at_the_end_all_files_are_in_storage_manifest_last(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    attempt = start(tunebase, steps=60, seconds=0.05, extra_files=["unforeseen.txt"])
    await until(lambda: tunebase.of("uploads") and len(steps(tunebase)) >= 3)
    tunebase.away = lambda name: True
    output = await ended(attempt, tmp_path)
    assert output["status"] == "completed"
    assert list(tunebase.stored) == ADAPTER, "no file without an upload target"
    assert json.loads(tunebase.stored["manifest.json"]) == output["manifest"]
    assert tunebase.of("finish") == []


# @proves others-empty-weights
async def test_a_file_that_arrives_damaged_is_uploaded_again(tunebase: FakeTunebase, tmp_path: Path) -> None:
    tunebase.damaged = {"adapter_model.safetensors"}
    assert (await ended(start(tunebase), tmp_path))["status"] == "completed"
    assert tunebase.verified == ADAPTER[:2]


@pytest.mark.parametrize("how", ["changed", "gone"])
async def test_a_damaged_or_missing_checkpoint_is_a_warning_and_training_starts_over(
    tunebase: FakeTunebase, tmp_path: Path, how: str
) -> None:
    tunebase.stored = {"checkpoints/5/state.json": b'{"step": 5}'}
    tunebase.claim = {"resume": tunebase.resume_of(5)}
    if how == "changed":
        tunebase.serve("checkpoints/5/state.json", b'{"step": 6}')
    else:
        del tunebase.files["checkpoints/5/state.json"]
    assert (await ended(start(tunebase), tmp_path))["status"] == "completed"
    (warning,) = tunebase.reported("events")
    assert warning["level"] == "warn" and warning["message"].endswith("Training starts over.")
    assert steps(tunebase) == list(range(1, 11))


async def test_a_claim_that_is_not_answered_ends_the_attempt_without_work(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setattr("handler.CLAIM_TIMEOUT_SECONDS", 1.0)
    tunebase.away = lambda name: True
    output = await ended(start(tunebase), tmp_path)
    assert (output["status"], output["error_code"]) == ("failed", "callback_unreachable")
    assert {name for name, _ in tunebase.arrivals} == {"claim"}


async def test_a_rejected_signature_ends_the_attempt(tunebase: FakeTunebase, tmp_path: Path) -> None:
    attempt = start(tunebase, steps=4000)
    await until(lambda: len(steps(tunebase)) >= 3)
    tunebase.troubles = [401] * 1000
    output = await ended(attempt, tmp_path)
    assert (output["status"], output["error_code"]) == ("failed", "callback_unreachable")
    assert trainings(tmp_path) == []


async def test_a_killed_training_fails_with_an_understandable_reason(tunebase: FakeTunebase, tmp_path: Path) -> None:
    attempt = start(tunebase, steps=4000)
    await until(lambda: len(steps(tunebase)) >= 3)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        text = process.read_bytes().decode()
        if "stub_training" in text and str(tmp_path) in text:
            os.kill(int(process.parent.name), signal.SIGKILL)
    output = await ended(attempt, tmp_path)
    assert (output["error_code"], tunebase.of("finish")[0]["error_code"]) == ("trainer_killed", "trainer_killed")
    assert "(SIGKILL)" in output["error"]


async def test_a_real_training_is_paused_and_resumed_through_the_handler(
    tunebase: FakeTunebase, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNEBASE_TRAIN_COMMAND")
    tunebase.serve("rows.jsonl", tiny.rows(16).encode())
    given = {"id": "rp-1", "input": run_input(tunebase, str(tiny_model), num_epochs=12)}
    tunebase.directives = lambda name, body: "pause" if name == "report" and body["current_step"] >= 1 else None
    output = await ended(asyncio.create_task(handler(given)), tmp_path)
    assert output["status"] == "paused"
    (checkpoint,) = tunebase.reported("checkpoints")
    at = checkpoint["step"]

    tunebase.directives = lambda name, body: None
    tunebase.claim = {"resume": tunebase.resume_of(at), "fence": 2}
    output = await ended(asyncio.create_task(handler(given)), tmp_path)
    assert output["status"] == "completed", output
    assert steps(tunebase) == list(range(1, 49))
    assert f"Resuming from the checkpoint of step {at}." in [event["message"] for event in tunebase.reported("events")]
    assert output["manifest"]["first_loss"] == tunebase.reported("metrics")[0]["training_loss"]
