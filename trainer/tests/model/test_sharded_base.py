"""A base that two ranks share trains as a whole one does, and a rank holds a part of it, and of one layer all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import tiny, tiny_models
from support.train_process import of, train
from torch._C._distributed_c10d import HashStore

from tunebase_trainer.model import loading, lora, sharded_base


@pytest.fixture
def alone() -> Iterator[None]:
    """This process as the only rank."""
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=HashStore())
    yield
    torch.distributed.destroy_process_group()


def gradients(net: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        net(input_ids=ids, labels=ids).loss.backward()
    return {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", tiny_models.KINDS)
@pytest.mark.usefixtures("bf16")
def test_one_layer_is_complete_at_a_time_and_computes_the_same(kind: str, alone: None, tmp_path: Path) -> None:
    path = tiny_models.save(kind, tmp_path)
    ids = torch.randint(3, 258, (2, 20))

    def adapted(net: Any) -> Any:
        torch.manual_seed(1)
        made, _ = lora.add_lora(net, 4, 8, 0.0, checkpointing=True)
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0, 0.1)
        return made.train()

    expected = gradients(adapted(loading.load_quantized(path)[0]), ids)
    base, _ = loading.load_quantized(path)
    whole = list[list[int]]()
    layers = sharded_base.shard(base, torch.device("cpu"))
    assert not any(layer.is_whole for layer in layers)
    for module in base.get_decoder().layers:
        module.input_layernorm.register_forward_pre_hook(
            lambda *_: whole.append([n for n, layer in enumerate(layers) if layer.is_whole])
        )
    found = gradients(adapted(base), ids)
    order = range(len(layers))
    assert whole == [[n] for n in (*order, *reversed(order))], "forward, and again for the backward pass"
    assert found.keys() == expected.keys() and len(found) > 4
    for name, gradient in found.items():
        assert gradient.equal(expected[name]), name


def test_each_rank_keeps_its_part_of_every_weight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tiny_models.save("qwen3_moe", tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        module = loading.load_quantized(path)[0].get_decoder().layers[1]
        weights = [weight.data.clone() for weight in module.parameters() if weight.dtype == torch.uint8]
        layer = sharded_base.ShardedLayer(module, torch.device("cpu"))
        assert 3 * layer.own.numel() == layer.bytes < sum(weight.numel() for weight in weights) + 20 * 512
        parts.append(layer.own)
    layer.whole.untyped_storage().resize_(layer.bytes)
    layer.whole.copy_(torch.cat(parts))
    there = [weight for weight in module.parameters() if weight.dtype == torch.uint8]
    assert len(there) == len(weights) == 6  # q, k, v, o, and the experts' two
    assert all(weight.equal(before) for weight, before in zip(there, weights, strict=True))


def test_two_ranks_with_a_sharded_base_make_the_steps_of_two_without(
    tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pairs, two a step: of the last, and of the reference's last, one rank has none."""
    model = tiny_models.save("qwen3_moe", tmp_path / "base")
    tiny_tokenizer.save_pretrained(model)
    data: dict[str, Any] = {"rows": tiny.pairs(5), "validation": tiny.pairs(2)}
    found = []
    for name, share in (("whole", "0"), ("shared", "1")):
        monkeypatch.setenv("TUNEBASE_SHARD_BASE_MODEL", share)
        code, events, log = train(tmp_path / name, model, 2, num_epochs=1, method="dpo", beta=0.1, batch_size=2, **data)
        assert code == 0, log
        found.append(events)
    whole, shared = found
    assert not any("sharded over" in event["message"] for event in of(whole, "log"))
    assert any("sharded over 2 GPUs" in event["message"] for event in of(shared, "log"))
    assert any("No answers are generated" in event["message"] for event in of(shared, "log"))
    evaluations = [of(events, "result")[0]["evaluation"] for events in found]
    assert evaluations[0] == evaluations[1]
    assert evaluations[0]["rows_evaluated"] == 2
    assert len(of(shared, "step")) == 3
    for ours, theirs in zip(of(shared, "step"), of(whole, "step"), strict=True):
        for name in ("training_loss", "gradient_norm", "validation_loss", "trained_tokens"):
            assert ours[name] == theirs[name], name
    weights = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "shared")]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
