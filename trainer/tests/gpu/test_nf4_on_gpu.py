"""NF4 against its definition: 16 values, and the largest magnitude of each block of 64 as its scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bitsandbytes import functional as bnb
from support.devices import DEVICES

from tunebase_trainer.model.quantization import BLOCK, NESTED_BLOCK, pack

# Dettmers et al., QLoRA (arXiv:2305.14314), appendix E.
NF4 = torch.tensor(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    dtype=torch.float64,
)  # fmt: skip
# Half of the widest gap between two values, that from -1 to -0.696.
LARGEST_ERROR = 0.152
# Half of the widest gap between two values of bitsandbytes' 8-bit map for the scales, and some room for fp32.
LARGEST_SCALE_ERROR = 0.0075


def weights(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)).to(dtype)


def nearest(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The blocks' scales, and what the values become with them, in fp64 on the CPU."""
    blocks = values.double().cpu().reshape(-1, BLOCK)
    scales = blocks.abs().amax(dim=1, keepdim=True)
    codes = (blocks[..., None] / scales[..., None] - NF4).abs().argmin(dim=-1)
    return scales[:, 0], (NF4[codes] * scales).reshape(values.shape)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("device", DEVICES)
def test_each_value_becomes_the_nearest_of_the_sixteen(device: str, dtype: torch.dtype) -> None:
    values = weights(96, 64, dtype=dtype)
    scales, expected = nearest(values)
    packed, state = bnb.quantize_4bit(values.to(device), blocksize=BLOCK, quant_type="nf4")
    torch.testing.assert_close(state.absmax.double().cpu(), scales, rtol=1e-6, atol=0)
    found = bnb.dequantize_4bit(packed, state).double().cpu()
    # The result is rounded to `dtype`: bf16 has 8 significant bits.
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 1e-6
    same = (found - expected).abs() <= rounding * expected.abs()
    # A value halfway between two codes may become either: it is then as close to the one as to the other.
    tied = (found - values.double()).abs() <= (expected - values.double()).abs() + 2 * rounding * expected.abs() + 1e-6
    assert (same | tied).all()
    assert same.double().mean() > 0.999


@pytest.mark.parametrize("device", DEVICES)
def test_packed_experts_are_within_the_error_of_their_codes_and_scales(device: str) -> None:
    values = weights(4, 128, 64, dtype=torch.bfloat16)
    scales, _ = nearest(values)
    parameter: Any = pack(list(values.to(device).unbind(0)))
    assert parameter.device.type == device
    found = bnb.dequantize_4bit(parameter.data, parameter.quant_state)
    assert found.shape == values.shape and found.dtype == torch.bfloat16
    # Of the scales, what is above or below their mean is in 8 bits, by the largest of each 256.
    centered = (scales - scales.mean()).abs().reshape(-1, NESTED_BLOCK)
    off = (LARGEST_SCALE_ERROR * centered.amax(dim=1, keepdim=True)).expand_as(centered).reshape(-1, 1)
    allowed = LARGEST_ERROR * scales[:, None] + off + 2.0**-8 * scales[:, None]
    error = (found.double().cpu() - values.double()).abs().reshape(-1, BLOCK)
    assert (error <= allowed).all()
    assert error.mean() / values.double().abs().mean() < 0.11, "a normal distribution's values lose 9 % on average"


@pytest.mark.parametrize("device", DEVICES)
def test_packing_one_expert_after_the_other_equals_bitsandbytes_quantization_of_all(device: str) -> None:
    values = weights(6, 64, 32, dtype=torch.bfloat16).to(device)
    data, state = bnb.quantize_4bit(values, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
    parameter: Any = pack(list(values.unbind(0)))
    assert torch.equal(parameter.data, data)
    found = bnb.dequantize_4bit(parameter.data, parameter.quant_state)
    torch.testing.assert_close(found, bnb.dequantize_4bit(data, state))


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree_on_a_packed_model_that_moves_between_them(device: str) -> None:
    """A cached base is quantized on one worker and read by another, and a sharded one moves from the CPU to a GPU."""
    values = weights(2, 128, 64, dtype=torch.bfloat16)
    parameter: Any = pack(list(values.unbind(0)))
    here = bnb.dequantize_4bit(parameter.data, parameter.quant_state)
    state = bnb.QuantState.from_dict(parameter.quant_state.as_dict(packed=True), device=torch.device(device))
    there = bnb.dequantize_4bit(parameter.data.to(device), state)
    # One unit in the last place of bf16, where the scale's sum rounds to the other side.
    torch.testing.assert_close(there.cpu(), here, rtol=2.0**-7, atol=1e-6)
