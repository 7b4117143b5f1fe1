"""When one of several GPUs runs out of memory, all ranks start again with smaller micro-batches: on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.train_process import of, train

from tunebase_trainer.model import distributed

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


def test_all_ranks_restart_from_the_newest_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
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
    expected = steps(train(tmp_path / "roomy", tiny_model, 2)[1])
    for ours, theirs in zip(steps(events), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)


def test_a_restart_continues_from_the_newest_complete_checkpoint_in_the_time_that_is_left(tmp_path: Path) -> None:
    spec, reports = tmp_path / "spec.json", list[str]()

    def next_spec(**changes: Any) -> dict[str, Any] | None:
        content = {"checkpoints": str(tmp_path / "checkpoints"), "resume": None, "seconds": 100.0}
        spec.write_text(json.dumps({**content, "hyperparameters": {"batch_size": 8}, **changes}))
        if not distributed._next_spec(str(spec), 40.0, lambda message, level: reports.append(message)):
            return None
        result: dict[str, Any] = json.loads(spec.read_text())
        return result

    def request(tokens: int) -> None:
        distributed.request_restart(str(spec), distributed.RestartNeeded(tokens))

    assert next_spec() is None, "no rank has requested one"
    request(512)
    found = next_spec()
    assert found is not None
    assert (found["micro_batch_tokens"], found["resume"], found["seconds"]) == (512, None, 60.0)
    assert next_spec() is None, "each request counts once"
    for step, complete in ((8, True), (9, True), (10, False)):
        directory = tmp_path / "checkpoints" / f"checkpoint-{step}"
        directory.mkdir(parents=True)
        if complete:
            (directory / "tunebase.json").write_text("{}")
    request(256)
    found = next_spec(micro_batch_tokens=512, resume="/elsewhere/checkpoint-7", seconds=None)
    assert found is not None
    assert (found["resume"], found["seconds"]) == (str(tmp_path / "checkpoints" / "checkpoint-9"), None)
    request(256)
    assert next_spec(micro_batch_tokens=256) is None, "it would run out of memory again"
    assert [message.split(" with ")[0] for message in reports] == [
        "A GPU ran out of memory. All GPUs restart from the start",
        "A GPU ran out of memory. All GPUs restart from step 9",
    ]
