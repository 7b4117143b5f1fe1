"""liger-kernel's kernels on a GPU: which ones equal a model's own, and a training step with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models
from support.devices import needs_cuda, relative_error
from support.stages import stage

from tunebase_trainer.bench.gpu import free
from tunebase_trainer.kernels import liger
from tunebase_trainer.model import loading
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training.loss import supervised_loss

pytestmark = [
    needs_cuda,
    pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="liger-kernel is not installed"),
]
# Widths of real models, in two layers.
SIZES: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
}


@pytest.fixture(autouse=True)
def own_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`add_lora` installs none: the first step of each test is the reference."""
    monkeypatch.setattr(liger, "install", lambda *_: liger.Installed())
    yield
    free()


install = liger.install


def step(net: Any, name: str) -> tuple[float, torch.Tensor]:
    ids = (torch.arange(4 * 512, device="cuda").view(4, 512) * 7) % 290 + 3
    net.zero_grad()
    with stage(f"a step with {name}"), torch.autocast("cuda", torch.bfloat16):
        loss = supervised_loss(net, {"input_ids": ids, "labels": ids}, None)
        loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["llama", "qwen3", "qwen3_next", "gemma2"])
def test_a_step_with_liger_kernels_is_one_without_them(kind: str, tmp_path: Path) -> None:
    net, _ = add_lora(loading.load_unquantized(tiny_models.save(kind, tmp_path, **SIZES)), 8, 16, 0.0)
    net.train()
    for name, weight in net.named_parameters():
        if "lora_B" in name:  # zeros at first, which would hide the gradient of A
            torch.nn.init.normal_(weight, 0.0, 0.05)
    loss, gradient = step(net, f"{kind}'s own kernels")
    installed = install(net, torch.device("cuda", 0))
    assert installed.off == {}
    assert installed.on == (["RMSNorm", "RoPE"] if kind == "gemma2" else ["RMSNorm", "SwiGLU", "RoPE"])
    found_loss, found = step(net, f"{kind} with liger-kernel")
    assert found_loss == pytest.approx(loss, rel=5e-3)
    assert relative_error(found, gradient) < 0.05
