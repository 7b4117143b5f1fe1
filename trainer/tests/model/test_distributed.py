"""Two processes that share each batch train as one does: on CPU, by torchrun, with gloo."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.train_process import of, train

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import distributed

# Sums in another order, of numbers in bf16.
CLOSE = {"training_loss": 1e-4, "gradient_norm": 2e-3}

# The ranks probe the largest micro-batch, as on GPUs. The one with the second half of a batch has room for 200 padded
# tokens, once it has trained three steps.
LITTLE_MEMORY = """
import os

if "RANK" in os.environ:
    from tunebase_trainer.training import loop

    train = loop.train
    loop.train = lambda *arguments, **named: train(*arguments, **{**named, "probe_largest": True})
if os.environ.get("RANK") == "1":
    import torch
    from tunebase_trainer.training.trainer import LoraTrainer

    compute_loss = LoraTrainer.compute_loss

    def with_little_memory(self, model, inputs, **more):
        if inputs["input_ids"].numel() > 200 and self.state.global_step >= 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute_loss(self, model, inputs, **more)

    LoraTrainer.compute_loss = with_little_memory
"""
STEPS = ("step", "training_loss", "gradient_norm", "trained_tokens")


def steps(events: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    return [tuple(event[name] for name in STEPS) for event in of(events, "step")]


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
    ours, theirs = result.pop("evaluation"), other.pop("evaluation")
    for side in ("base", "tuned"):
        assert ours[side].pop("loss") == pytest.approx(theirs[side].pop("loss"), rel=0.01), side
    assert ours == theirs
    assert result == other
    ours, theirs = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (directory, tmp_path / "run"))
    assert ours.keys() == theirs.keys()


def test_only_one_process_reports_and_saves(two: tuple[Path, list[dict[str, Any]]]) -> None:
    _, events = two
    assert [event["stage"] for event in of(events, "stage")] == [
        "preparing", "loading_model", "configuring", "training", "evaluating", "saving",
    ]  # fmt: skip
    assert len(of(events, "result")) == 1
    assert any(
        "(micro-batches of up to 4096 tokens on each of 2 GPUs)" in event["message"] for event in of(events, "log")
    )


def test_stopped_ranks_save_one_checkpoint_and_resume_from_it(
    two: tuple[Path, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path
) -> None:
    code, stopped, log = train(tmp_path / "stopped", tiny_model, 2, stop_at=3)
    assert code == 0, log
    (checkpoint,) = of(stopped, "checkpoint")
    assert checkpoint["step"] in (4, 5), "within the second epoch, whose rows have another order"
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


def test_when_one_runs_out_of_memory_all_ranks_restart_from_the_newest_checkpoint(
    two: tuple[Path, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path
) -> None:
    hook = tmp_path / "little_memory.py"
    hook.write_text(LITTLE_MEMORY)
    code, events, log = train(tmp_path / "run", tiny_model, 2, hook=hook, checkpoint_seconds=0.001)
    assert code == 0, log
    warnings = [event["message"] for event in of(events, "log") if event["level"] == "warn"]
    assert warnings and all("A GPU ran out of memory. All GPUs restart from step 3 with" in one for one in warnings)
    assert not of(events, "error"), "what the other rank raised is no failure"
    assert [event["step"] for event in of(events, "step")] == [1, 2, 3, 4, 5, 6]
    (result,) = of(events, "result")
    assert result["steps"] == 6
    for ours, theirs in zip(steps(events), steps(two[1]), strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)


def test_a_failure_of_all_ranks_is_reported_once_with_the_contracts_status(tiny_model: Path, tmp_path: Path) -> None:
    # This one starts like a worker's; the others are forks (conftest.py). Both ranks fail before their slow imports.
    code, events, _ = train(tmp_path / "run", tiny_model, 2, batch_size=7, in_new_interpreters=True)
    (error,) = of(events, "error")
    assert code == 3 and error["code"] == "invalid_input"


def test_a_batch_size_that_the_gpus_cannot_divide_is_rejected_with_one_that_they_can() -> None:
    distributed.check_batch_size(8, 4)
    with pytest.raises(TrainerError) as caught:
        distributed.check_batch_size(6, 4)
    assert caught.value.message == "batch_size = 6: it cannot be divided evenly among 4 GPUs."
    assert caught.value.hint == "Use batch_size = 8, or num_gpus = 3."
