"""Qwen3-Next's linear attention: torch's path and flash-linear-attention's kernels against the recurrence."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from support.devices import needs_cuda, relative_error

needs_fla = pytest.mark.skipif(
    importlib.util.find_spec("fla") is None, reason="flash-linear-attention is not installed: requirements-cuda.txt"
)
KEY_HEADS, VALUE_HEADS = 2, 4


def inputs(device: str, rows: int, tokens: int, size: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Query, key, value, decay (in log space, not above 0) and beta (from 0 to 1), as the model makes them."""
    generator = torch.Generator().manual_seed(rows * tokens + size)

    def normal(heads: int, *sizes: int) -> torch.Tensor:
        return torch.randn(rows, tokens, heads, *sizes, generator=generator)

    decay = -0.1 * torch.nn.functional.softplus(normal(VALUE_HEADS))
    made = [
        normal(KEY_HEADS, size).to(dtype),
        normal(KEY_HEADS, size).to(dtype),
        normal(VALUE_HEADS, size).to(dtype),
        decay,  # in fp32, whatever the model's dtype
        normal(VALUE_HEADS).sigmoid().to(dtype),
    ]
    return [tensor.to(device).requires_grad_() for tensor in made]


def recurrence(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, g: torch.Tensor, beta: torch.Tensor
) -> torch.Tensor:
    """Yang et al., Gated Delta Networks (arXiv:2412.06464), equation 10, token by token.

    `S ← exp(g) S; S ← S + k (beta (v - kᵀS))ᵀ; o = qᵀS / √size`, with q and k of length 1.
    """
    share = VALUE_HEADS // KEY_HEADS
    query, key = (x.repeat_interleave(share, dim=2) for x in (query, key))
    query, key = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (query, key))
    query = query * query.shape[-1] ** -0.5
    state = torch.zeros(key.shape[0], VALUE_HEADS, key.shape[-1], value.shape[-1], dtype=value.dtype)
    outputs = []
    for t in range(key.shape[1]):
        state = state * g[:, t, :, None, None].exp()
        predicted = torch.einsum("bhk,bhkv->bhv", key[:, t], state)
        change = beta[:, t, :, None] * (value[:, t] - predicted)
        state = state + torch.einsum("bhk,bhv->bhkv", key[:, t], change)
        outputs.append(torch.einsum("bhk,bhkv->bhv", query[:, t], state))
    return torch.stack(outputs, dim=1)


def exact(given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Output and gradients of the recurrence, in fp64 on the CPU."""
    doubles = [tensor.detach().double().cpu().requires_grad_() for tensor in given]
    return with_gradients(recurrence(*doubles), doubles)


def with_gradients(out: torch.Tensor, given: list[torch.Tensor]) -> list[torch.Tensor]:
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.device, out.dtype)
    return [out, *torch.autograd.grad(out, given, upstream.to(torch.bfloat16).to(out.dtype))]


def rule() -> Any:
    """What the model calls: flash-linear-attention's kernel if it is installed, else torch's path."""
    from transformers.models.qwen3_next import modeling_qwen3_next

    return modeling_qwen3_next.torch_chunk_gated_delta_rule


def by_torch(given: list[torch.Tensor]) -> list[torch.Tensor]:
    query, key, value, g, beta = given
    out, _ = rule().__wrapped__(query, key, value, g=g, beta=beta, use_qk_l2norm_in_kernel=True)
    return with_gradients(out, given)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
@pytest.mark.parametrize("tokens", [64, 100])
def test_the_torch_path_computes_the_recurrence(device: str, tokens: int) -> None:
    given = inputs(device, 2, tokens, 16, torch.float32)
    for found, expected in zip(by_torch(given), exact(given), strict=True):
        assert relative_error(found, expected) < 1e-4


@needs_cuda
@needs_fla
@pytest.mark.parametrize(("rows", "tokens", "size"), [(2, 64, 64), (2, 200, 128), (1, 1000, 128)])
def test_the_kernels_output_and_gradients_are_those_of_the_recurrence(rows: int, tokens: int, size: int) -> None:
    given = inputs("cuda", rows, tokens, size, torch.bfloat16)
    query, key, value, g, beta = given
    out, _ = rule()(query, key, value, g=g, beta=beta, use_qk_l2norm_in_kernel=True)
    found, torch_path, true = with_gradients(out, given), by_torch(given), exact(given)
    for name, ours, theirs, expected in zip(
        ("output", "query", "key", "value", "g", "beta"), found, torch_path, true, strict=True
    ):
        # torch's path computes in fp32 and rounds its results to bf16, by 2^-9. The kernel also keeps the
        # intermediate results of its chunks in bf16: two or three more roundings.
        assert relative_error(theirs, expected) < 0.006, name
        assert relative_error(ours, expected) < 0.02, name


@needs_cuda
@needs_fla
def test_the_model_uses_the_kernels() -> None:
    """Only they keep packed sequences apart: transformers' own path raises ValueError for them."""
    query, key, value, g, beta = inputs("cuda", 1, 128, 64, torch.bfloat16)
    bounds = torch.tensor([0, 50, 128], device="cuda")
    packed, _ = rule()(query, key, value, g=g, beta=beta, use_qk_l2norm_in_kernel=True, cu_seqlens=bounds)
    for start, end in ((0, 50), (50, 128)):
        part = [tensor[:, start:end] for tensor in (query, key, value, g, beta)]
        alone, _ = rule()(*part[:3], g=part[3], beta=part[4], use_qk_l2norm_in_kernel=True)
        assert relative_error(packed[:, start:end], alone) < 0.01
