"""Two ranks over NCCL, with the whole base on each and with a sharded one, in NF4 and bf16, make the steps of one GPU.

With gloo on two CPU processes: tests/model/test_distributed.py, test_sharded_base.py and test_fsdp_base.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import tiny, tiny_models
from support.devices import needs_two_gpus
from support.train_process import of, train

pytestmark = needs_two_gpus

# The kernels differ with the shape of a micro-batch, and attention's backward adds in no fixed order: bf16 has 8 bits.
CLOSE = {"training_loss": 5e-3, "gradient_norm": 3e-2}


def steps(
    directory: Path, model: Path, gpus: int, monkeypatch: pytest.MonkeyPatch, *, sharded: bool = False, **more: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """The steps and the log messages of a run on this many GPUs."""
    monkeypatch.setenv("TUNEBASE_SHARD_BASE_MODEL", "1" if sharded else "0")
    # Not as forks, as conftest.py makes them: CUDA cannot be used in a fork of a process that has asked it for GPUs.
    code, events, log = train(directory, model, gpus, in_new_interpreters=True, **more)
    assert code == 0, log
    return of(events, "step"), [event["message"] for event in of(events, "log")]


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [step["step"] for step in found] == [step["step"] for step in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["trained_tokens"] == theirs["trained_tokens"]
        for name, tolerance in CLOSE.items():
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance), (name, ours["step"])


@pytest.fixture(scope="module")
def moe(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_models.save("qwen3_moe", tmp_path_factory.mktemp("qwen3_moe"))
    tiny_tokenizer.save_pretrained(model)
    return model


@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("sharded", [False, True], ids=["whole base", "sharded base"])
def test_two_gpus_make_the_steps_of_one(
    moe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharded: bool, quantization: str
) -> None:
    alone, _ = steps(tmp_path / "one", moe, 1, monkeypatch, quantization=quantization)
    shared, messages = steps(tmp_path / "two", moe, 2, monkeypatch, sharded=sharded, quantization=quantization)
    assert len(shared) == 6
    assert any("sharded over 2 GPUs" in message for message in messages) == sharded
    assert any("on each of 2 GPUs" in message for message in messages)
    assert_close(shared, alone)


def test_pairs_on_a_sharded_base_make_the_steps_of_a_whole_one(
    moe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine pairs, two per step: one rank has no pair in the last step."""
    data: dict[str, Any] = {"rows": tiny.pairs(9), "validation": tiny.pairs(2)}
    data |= {"num_epochs": 1, "method": "dpo", "beta": 0.1, "batch_size": 2}
    whole, _ = steps(tmp_path / "whole", moe, 2, monkeypatch, **data)
    sharded, _ = steps(tmp_path / "sharded", moe, 2, monkeypatch, sharded=True, **data)
    assert len(sharded) == 5
    assert_close(sharded, whole)


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_stopped_ranks_with_a_sharded_base_resume_from_their_checkpoint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str
) -> None:
    settings: dict[str, Any] = {"quantization": quantization}
    complete, _ = steps(tmp_path / "complete", tiny_model, 2, monkeypatch, sharded=True, **settings)
    code, stopped, log = train(tmp_path / "stopped", tiny_model, 2, stop_at=2, in_new_interpreters=True, **settings)
    assert code == 0, log
    (checkpoint,) = of(stopped, "checkpoint")
    resumed, _ = steps(
        tmp_path / "resumed", tiny_model, 2, monkeypatch, sharded=True, resume=checkpoint["path"], **settings
    )
    assert_close(resumed, complete[checkpoint["step"] :])
