"""A run that is resumed in another process makes the steps that the uninterrupted one makes, exactly."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from support.paths import TRAINER

from tunebase_trainer.worker import process as training

# 16 rows in batches of 4: 4 steps an epoch, 8 in all.
HYPER = {
    "base_revision": None,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "num_epochs": 2,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "use_rslora": False,
    "warmup_steps": None,
    "warmup_ratio": 0.05,
    "lr_schedule": "cosine",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "validation_split": 0.0,
    "early_stopping_patience": 3,
    "eval_steps": 2,
    "max_length": 256,
    "seed": 7,
}
SAME = ("epoch", "training_loss", "validation_loss", "gradient_norm", "learning_rate", "trained_tokens", "progress")


def train(
    directory: Path,
    model: Path,
    stop_at: int | None = None,
    resume: Path | None = None,
    every: float | None = None,
    seconds: float | None = None,
) -> list[dict[str, Any]]:
    """Runs train_lora.py in a process of its own; requests a stop once it has reported step `stop_at`."""
    directory.mkdir()
    (directory / "rows.jsonl").write_text(tiny.rows(16))
    (directory / "validation.jsonl").write_text(tiny.rows(3))
    spec = {
        "dataset": str(directory / "rows.jsonl"),
        "validation": str(directory / "validation.jsonl"),
        "output": str(directory / "adapter"),
        "hyperparameters": {**HYPER, "base_model": str(model)},
        "checkpoints": str(directory / "checkpoints"),
        "checkpoint_seconds": every,
        "seconds": seconds,
        "resume": str(resume) if resume else None,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    events = []
    process = subprocess.Popen(
        [*training.training_command(), str(directory / "spec.json")],
        cwd=TRAINER,
        env=training.training_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.startswith('{"type"'):
            events.append(json.loads(line))
            if events[-1]["type"] == "step" and events[-1]["step"] == stop_at:
                process.send_signal(signal.SIGTERM)
    log = process.stderr.read()
    assert process.wait() == 0, log
    return events


def steps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: event[name] for name in ("step", *SAME)} for event in events if event["type"] == "step"]


def only(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [event for event in events if event["type"] == kind]
    return found


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The uninterrupted run."""
    events = train(tmp_path_factory.mktemp("whole") / "run", tiny_model)
    assert [step["step"] for step in steps(events)] == list(range(1, 9))
    return events


@pytest.fixture(scope="module")
def stopped(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A run that was asked to stop in its second epoch."""
    return train(tmp_path_factory.mktemp("stopped") / "run", tiny_model, stop_at=5)


def test_a_run_that_is_asked_to_stop_saves_and_reports_a_checkpoint(stopped: list[dict[str, Any]]) -> None:
    checkpoint = only(stopped, "checkpoint")
    assert stopped[-1] == {"type": "stopped", "step": checkpoint["step"], "out_of_time": False}
    assert checkpoint["step"] in (5, 6) and checkpoint["training_loss"] == steps(stopped)[-1]["training_loss"]
    files = {path.name for path in Path(checkpoint["path"]).iterdir()}
    assert files == {
        "adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
        "trainer_state.json", "tunebase.json", "best_adapter.safetensors",
    }  # fmt: skip


def test_a_run_near_its_deadline_saves_a_checkpoint_and_reports_why_it_stops(tiny_model: Path, tmp_path: Path) -> None:
    events = train(tmp_path / "run", tiny_model, seconds=0.001)
    assert only(events, "checkpoint")["step"] == 1, "at the first step's end"
    assert events[-1] == {"type": "stopped", "step": 1, "out_of_time": True}


# @proves others-optimizer-lost
def test_a_resumed_run_makes_exactly_the_steps_of_an_uninterrupted_one(
    whole: list[dict[str, Any]], stopped: list[dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint = only(stopped, "checkpoint")
    resumed = train(tmp_path / "run", tiny_model, resume=Path(checkpoint["path"]))
    at = checkpoint["step"]
    assert steps(stopped) == steps(whole)[:at]
    assert steps(resumed) == steps(whole)[at:]
    assert only(resumed, "resumed")["trained_tokens"] == steps(whole)[at - 1]["trained_tokens"]
    results = [only(events, "result") for events in (resumed, whole)]
    assert results[0] == results[1], "with the first loss and all trained tokens"
    assert only(resumed, "result")["steps"] == 8


def test_a_run_resumed_at_an_epochs_end_is_the_same_too(
    whole: list[dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    often = train(tmp_path / "often", tiny_model, every=0.001)
    saved = {event["step"]: event for event in often if event["type"] == "checkpoint"}
    assert list(saved) == list(range(1, 8)), "at each step's end but the last"
    assert steps(often) == steps(whole)
    for step in (2, 4):  # within an epoch, and at its end
        assert saved[step]["validation_loss"] == steps(whole)[step - 1]["validation_loss"] is not None
    resumed = train(tmp_path / "resumed", tiny_model, resume=Path(saved[4]["path"]))
    assert steps(resumed) == steps(whole)[4:]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: (path / "optimizer.pt").write_bytes(b"x" * 1000), "UnpicklingError"),
        (lambda path: (path / "rng_state.pth").unlink(), "FileNotFoundError"),
        (lambda path: (path / "best_adapter.safetensors").unlink(), "FileNotFoundError"),
        (lambda path: (path / "tunebase.json").write_text("{}"), "KeyError"),
        (
            lambda path: (path / "tunebase.json").write_text(
                (path / "tunebase.json").read_text().replace('"transformers": "', '"transformers": "9.')
            ),
            "it was saved with versions",
        ),
    ],
    ids=["damaged", "missing", "without the best", "empty", "another transformers"],
)
def test_an_unusable_checkpoint_is_rejected_with_the_reason(
    stopped: list[dict[str, Any]], tmp_path: Path, damage: Any, why: str
) -> None:
    from tunebase_trainer.training.checkpoint_state import IncompatibleCheckpoint, load_state

    shutil.copytree(only(stopped, "checkpoint")["path"], tmp_path / "checkpoint")
    run = json.loads((tmp_path / "checkpoint" / "tunebase.json").read_text())["run"]
    assert load_state(tmp_path / "checkpoint", run).step == only(stopped, "stopped")["step"]
    damage(tmp_path / "checkpoint")
    with pytest.raises(IncompatibleCheckpoint, match=why):
        load_state(tmp_path / "checkpoint", run)


def test_a_run_with_an_unusable_checkpoint_starts_over_with_a_warning(
    whole: list[dict[str, Any]], stopped: list[dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(only(stopped, "checkpoint")["path"], tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "adapter_model.safetensors").write_bytes(b"damaged")
    events = train(tmp_path / "run", tiny_model, resume=tmp_path / "checkpoint")
    warning = next(event for event in events if event["type"] == "log" and event["level"] == "warn")
    assert warning["message"].startswith("Cannot resume from the checkpoint (SafetensorError")
    assert steps(events) == steps(whole)
