"""Two processes that share each batch train as one does: on CPU, by torchrun, with gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
from safetensors.torch import load_file

from tunebase_trainer import process as training
from tunebase_trainer import ranks
from tunebase_trainer.errors import TrainerError

# Sums in another order, of numbers in bf16.
CLOSE = {"training_loss": 1e-4, "gradient_norm": 2e-3}
TRAINER = Path(__file__).parent.parent
# 22 rows in batches of 8: three steps an epoch, the last of 6 rows, which two processes share by fours.
HYPER = {
    "base_revision": None,
    "learning_rate": 1e-3,
    "batch_size": 8,
    "num_epochs": 2,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "use_rslora": False,
    "warmup_steps": None,
    "warmup_ratio": 0.05,
    "lr_schedule": "linear",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "validation_split": 0.0,
    "early_stopping_patience": 0,
    "max_length": 256,
    "seed": 7,
}


def train(
    directory: Path,
    model: Path,
    processes: int,
    *,
    stop_at: int | None = None,
    resume: str | None = None,
    in_new_interpreters: bool = False,
    **more: Any,
) -> tuple[int, list[dict[str, Any]], str]:
    """Runs train_lora.py; asks it to stop once it has told step `stop_at`. Returns its status, events and log."""
    directory.mkdir()
    (directory / "rows.jsonl").write_text(more.pop("rows", tiny.rows(22)))
    (directory / "validation.jsonl").write_text(more.pop("validation", tiny.rows(3)))
    spec = {
        "dataset": str(directory / "rows.jsonl"),
        "validation": str(directory / "validation.jsonl"),
        "output": str(directory / "adapter"),
        "hyperparameters": {**HYPER, "base_model": str(model), **more},
        "num_gpus": processes,
        "checkpoints": str(directory / "checkpoints"),
        "checkpoint_seconds": None,
        "resume": resume,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    read, write = os.pipe()
    environment = training.environment() | {"TUNEBASE_EVENTS_FD": str(write), "OMP_NUM_THREADS": "1"}
    command = training.command()
    if in_new_interpreters:
        del environment["PYTHON_EXEC"]
        command = [sys.executable, "train_lora.py"]
    process = subprocess.Popen(
        [*command, str(directory / "spec.json")],
        cwd=TRAINER,
        env=environment,
        stdout=(directory / "log").open("w"),
        stderr=subprocess.STDOUT,
        pass_fds=(write,),
    )
    os.close(write)
    events = []
    with os.fdopen(read) as told:
        for line in told:
            events.append(json.loads(line))
            if events[-1]["type"] == "step" and events[-1]["step"] == stop_at:
                process.send_signal(signal.SIGTERM)
    return process.wait(), events, (directory / "log").read_text()


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


@pytest.fixture(scope="module")
def two(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("two") / "run"
    code, events, log = train(directory, tiny_model, 2)
    assert code == 0, log
    return directory, events


def test_two_processes_make_the_steps_of_one(
    two: tuple[Path, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path
) -> None:
    directory, shared = two
    code, alone, log = train(tmp_path / "run", tiny_model, 1)
    assert code == 0, log
    assert [event["step"] for event in of(shared, "step")] == [1, 2, 3, 4, 5, 6]
    for ours, theirs in zip(of(shared, "step"), of(alone, "step"), strict=True):
        for name in ("epoch", "learning_rate", "trained_tokens", "total_steps", "progress"):
            assert ours[name] == theirs[name], name
        for name, tolerance in CLOSE.items():
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance), (name, ours["step"])
        assert (ours["validation_loss"] is None) == (theirs["validation_loss"] is None)
        if ours["validation_loss"] is not None:
            assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=0.01)
    # Any other step of the curve would be noticed.
    for name, tolerance in CLOSE.items():
        curve = [event[name] for event in of(alone, "step")]
        assert all(abs(a - b) > 2 * tolerance * a for a, b in pairwise(curve)), name
    (result,), (other,) = of(shared, "result"), of(alone, "result")
    for name in ("first_loss", "last_loss", "best_validation_loss"):
        assert result.pop(name) == pytest.approx(other.pop(name), rel=0.01), name
    assert result == other
    ours, theirs = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (directory, tmp_path / "run"))
    assert ours.keys() == theirs.keys()


def test_one_process_tells_and_saves(two: tuple[Path, list[dict[str, Any]]]) -> None:
    _, events = two
    assert [event["stage"] for event in of(events, "stage")] == [
        "preparing", "loading_model", "configuring", "training", "saving",
    ]  # fmt: skip
    assert len(of(events, "result")) == 1
    assert any("(micro-batch 4 on each of 2 GPUs)" in event["message"] for event in of(events, "log"))


def test_asked_to_stop_they_save_one_checkpoint_together_and_go_on_from_it(
    two: tuple[Path, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path
) -> None:
    code, stopped, log = train(tmp_path / "stopped", tiny_model, 2, stop_at=2)
    assert code == 0, log
    (checkpoint,) = of(stopped, "checkpoint")
    assert stopped[-1] == {"type": "stopped", "step": checkpoint["step"], "out_of_time": False}
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in Path(checkpoint["path"]).iterdir()}
    code, resumed, log = train(tmp_path / "resumed", tiny_model, 2, resume=checkpoint["path"])
    assert code == 0, log
    whole = {event["step"]: event for event in of(two[1], "step")}
    steps = of(resumed, "step")
    assert [event["step"] for event in steps] == list(range(checkpoint["step"] + 1, 7))
    for event in steps:
        assert event["training_loss"] == whole[event["step"]]["training_loss"]
        assert event["trained_tokens"] == whole[event["step"]]["trained_tokens"]


def test_what_goes_wrong_is_told_once_with_the_contracts_status(tiny_model: Path, tmp_path: Path) -> None:
    # The one that starts as a worker's does; the others are forks (conftest.py).
    code, events, _ = train(tmp_path / "run", tiny_model, 2, rows='{"prompt": 1}\n', in_new_interpreters=True)
    (error,) = of(events, "error")
    assert code == 3 and error["code"] == "invalid_dataset"


def test_a_batch_that_cannot_be_shared_is_refused_with_one_that_can() -> None:
    ranks.check_batch(8, 4)
    with pytest.raises(TrainerError) as caught:
        ranks.check_batch(6, 4)
    assert caught.value.message == "batch_size = 6: 4 GPUs cannot share it evenly."
    assert caught.value.hint == "Use batch_size = 8, or num_gpus = 3."
