"""The fused LoRA layer against PEFT's own forward, in bf16, and both against the formula in fp64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from support.devices import DEVICES, needs_cuda, relative_error

from tunebase_trainer.kernels import fused_lora
from tunebase_trainer.kernels.cpu_dropout import dropout_mask

ROWS, INPUTS, OUTPUTS, RANK, SCALING = 96, 256, 192, 8, 2.0


def bf16_layer(device: str) -> torch.nn.Linear:
    return torch.nn.Linear(INPUTS, OUTPUTS, bias=False, dtype=torch.bfloat16).to(device)


def nf4_layer(device: str) -> Linear4bit:
    layer = Linear4bit(INPUTS, OUTPUTS, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4").to(device)
    # As loading.prepare_for_training: on a CPU with AVX512-BF16 bitsandbytes would repack the weights.
    layer.support_avx512bf16_for_cpu = False
    return layer


def weights_of(layer: torch.nn.Linear) -> torch.Tensor:
    if not isinstance(layer, Linear4bit):
        return layer.weight.detach().double().cpu()
    weights: torch.Tensor = bnb.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weights.to(torch.bfloat16).double().cpu()


class GivenMask(torch.nn.Module):
    """PEFT's dropout, with this mask."""

    def __init__(self, mask: torch.Tensor, p: float) -> None:
        super().__init__()
        self.mask, self.p = mask, p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask.view(x.shape) / (1 - self.p)


@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize("make", [bf16_layer, nf4_layer])
@pytest.mark.parametrize("device", DEVICES)
def test_output_and_gradients_are_as_accurate_as_with_pefts_forward(
    device: str, make: Callable[[str], torch.nn.Linear], p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(11)
    base = make(device)
    config = LoraConfig(r=RANK, lora_alpha=int(SCALING * RANK), lora_dropout=p, target_modules=["0"], bias="none")
    net: Any = get_peft_model(torch.nn.Sequential(base), config).train()
    layer = net.base_model.model[0]
    assert fused_lora.fuse_lora_layers(net) == 1
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.normal_(b, 0, 0.1)
    assert a.dtype == b.dtype == torch.float32
    x = torch.randn(2, ROWS // 2, INPUTS).to(device, torch.bfloat16).requires_grad_()
    upstream = torch.randn(2, ROWS // 2, OUTPUTS).to(device, torch.bfloat16)
    mask = (torch.rand(ROWS, INPUTS) >= p).to(torch.uint8).to(device)
    monkeypatch.setattr(fused_lora, "dropout_mask", lambda like, p: mask)

    def run(forward: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
        with torch.autocast(device, torch.bfloat16):
            out = forward(x)
        return [out, *torch.autograd.grad(out, [x, a, b], upstream)]

    ours = run(layer)
    layer.lora_dropout["default"] = GivenMask(mask, p)
    theirs = run(layer.forward.peft_forward)

    exact = [tensor.detach().double().cpu().requires_grad_() for tensor in (x, a, b)]
    dropped = exact[0] * mask.double().cpu().view(x.shape) / (1 - p)
    out = exact[0] @ weights_of(base).T + SCALING * (dropped @ exact[1].T) @ exact[2].T
    true = [out, *torch.autograd.grad(out, exact, upstream.double().cpu())]

    for name, found, reference, expected in zip(("output", "x", "A", "B"), ours, theirs, true, strict=True):
        assert found.shape == expected.shape
        error, usual = relative_error(found, expected), relative_error(reference, expected)
        # bf16 rounds by up to 2^-9 of a value, four times on the longest way: x·A, its product with B, the sum with the
        # base, and A and B themselves. A wrong scale, mask or transposition is off by 1 and not by 0.01.
        assert error < 0.012, (name, error)
        assert error < 1.2 * usual + 2.0**-11, (name, error, usual)
    assert ours[2].dtype == ours[3].dtype == torch.float32, "the optimizer gets fp32"


@needs_cuda
def test_dropout_on_a_gpu_drops_each_element_with_the_requested_probability() -> None:
    like, p = torch.empty(2048, 2048, device="cuda", dtype=torch.bfloat16), 0.05
    torch.manual_seed(7)
    mask = dropout_mask(like, p)
    assert mask.device.type == "cuda" and mask.dtype == torch.uint8 and int(mask.max()) == 1
    spread = (p * (1 - p) / mask.numel()) ** 0.5
    assert abs(float(mask.double().mean()) - (1 - p)) < 5 * spread
    torch.manual_seed(7)
    assert torch.equal(dropout_mask(like, p), mask), "a resumed run draws the same"
    assert not torch.equal(dropout_mask(like, p), mask)
