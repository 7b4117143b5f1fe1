"""Attention for a CPU, against torch's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tunebase_trainer.kernels import cpu_attention


def both(length: int, heads: int, of_keys: int, scaling: float | None = None, **given: Any) -> list[list[torch.Tensor]]:
    """Outputs and gradients of ours and of torch's, in fp32."""
    module: Any = SimpleNamespace(num_key_value_groups=heads // of_keys, is_causal=True)
    found = []
    for function in (cpu_attention.attention, sdpa_attention_forward):
        torch.manual_seed(0)
        # As a model makes them: [batch, tokens, heads, size], turned.
        inputs = [torch.randn(2, length, n, 16).transpose(1, 2).requires_grad_() for n in (heads, of_keys, of_keys)]
        query, key, value = inputs
        out, _ = function(module, query, key, value, given.get("attention_mask"), scaling=scaling)
        found.append([out, *torch.autograd.grad(out, inputs, torch.randn(out.shape))])
    return found


@pytest.mark.parametrize("length", [2, 128, 129, 300])
@pytest.mark.parametrize(("heads", "of_keys", "scaling"), [(4, 4, None), (6, 2, 0.1), (3, 1, None)])
def test_outputs_and_gradients_equal_torchs(length: int, heads: int, of_keys: int, scaling: float | None) -> None:
    ours, theirs = both(length, heads, of_keys, scaling)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_unsupported_cases_use_torchs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> torch.Tensor:
        raise AssertionError

    monkeypatch.setattr(cpu_attention._Blocks, "apply", never)
    looks_ahead = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    ours, theirs = both(8, 4, 2, attention_mask=looks_ahead)
    torch.testing.assert_close(ours, theirs)
    both(cpu_attention.MAX_TOKENS + 1, 1, 1)
    with pytest.raises(AssertionError):
        both(8, 4, 2)
