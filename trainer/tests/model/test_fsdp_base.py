"""An unquantized base that FSDP2 shards over two ranks trains as a whole one on one rank does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import tiny_models
from support.train_process import of, train
from torch._C._distributed_c10d import HashStore

from tunebase_trainer.model import fsdp_base, loading, lora

# Sums in another order, of numbers in bf16.
CLOSE = {"training_loss": 1e-4, "gradient_norm": 2e-3}


@pytest.fixture
def alone() -> Iterator[None]:
    """This process as the only rank."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=HashStore())
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("kind", "lora_targets"),
    [("gemma2", "all-linear"), ("qwen3_next", "all-linear"), ("qwen3_next", "experts"), ("mixtral", "experts")],
)
@pytest.mark.usefixtures("bf16")
def test_a_sharded_base_has_the_gradients_of_a_whole_one(
    kind: str, lora_targets: str, alone: None, tmp_path: Path
) -> None:
    path = tiny_models.save(kind, tmp_path)
    ids = torch.randint(3, 258, (2, 20))

    def gradients(base: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        net, _ = lora.add_lora(base, 4, 8, 0.0, lora_targets, checkpointing=True)
        for name, weight in net.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0, 0.1)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            net(input_ids=ids, labels=ids).loss.backward()
        return {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}

    expected = gradients(loading.load_unquantized(path))
    base = loading.load_unquantized(path)
    fsdp_base.shard(base, fsdp_base.mesh_of_all_ranks())
    found = gradients(base)
    assert found.keys() == expected.keys() and len(found) > 4
    for name, gradient in found.items():
        assert gradient.equal(expected[name]), name


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """One process with a whole base."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TUNEBASE_CPU_DTYPE", raising=False)  # in bf16, as the sharded one
        code, events, log = train(directory, tiny_model, 1, quantization="none", export=["merged"])
    assert code == 0, log
    return directory, events


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [step["step"] for step in found] == [step["step"] for step in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["trained_tokens"] == theirs["trained_tokens"]
        for name, tolerance in CLOSE.items():
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance), (name, ours["step"])


@pytest.mark.usefixtures("bf16")
def test_two_ranks_with_a_sharded_base_stop_and_resume_and_make_the_steps_and_the_adapter_of_one(
    whole: tuple[Path, list[dict[str, Any]]], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, expected = whole
    monkeypatch.setenv("TUNEBASE_SHARD_BASE_MODEL", "1")
    code, stopped, log = train(tmp_path / "stopped", tiny_model, 2, stop_at=2, quantization="none", export=["merged"])
    assert code == 0, log
    (checkpoint,) = of(stopped, "checkpoint")
    messages = [event["message"] for event in of(stopped, "log")]
    assert "The base model is not quantized." in messages
    assert any("sharded over 2 GPUs" in message for message in messages)
    # `auto` means NF4 on a CPU, but a resumed run keeps what its checkpoint was trained with.
    code, resumed, log = train(
        tmp_path / "resumed", tiny_model, 2, resume=checkpoint["path"], quantization="auto", export=["merged"]
    )
    assert code == 0, log
    (result,), (reference,) = of(resumed, "result"), of(expected, "result")
    assert of(resumed, "resumed")[0]["step"] == checkpoint["step"]
    assert result["quantization"] == reference["quantization"] == "none"
    assert_close(of(stopped, "step") + of(resumed, "step"), of(expected, "step"))
    assert result["best_validation_loss"] == pytest.approx(reference["best_validation_loss"], rel=0.01)
    for name in ("adapter/adapter_model.safetensors", "adapter/merged/model.safetensors"):
        ours, theirs = load_file(tmp_path / "resumed" / name), load_file(directory / name)
        assert ours.keys() == theirs.keys()
        for key, weight in ours.items():
            torch.testing.assert_close(weight, theirs[key], rtol=2e-2, atol=1e-4, msg=key)
    assert result["base_sharded"] and not reference["base_sharded"]
    card = (tmp_path / "resumed" / "adapter" / "README.md").read_text()
    assert "| base model trained in | bf16, sharded across 2 GPUs |" in card
