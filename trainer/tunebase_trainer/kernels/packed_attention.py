"""Attention over rows that are packed into one sequence without padding. Each row attends only to itself.

transformers passes `cu_seq_lens_q`, the start of each row, to the attention function of the model. On a GPU, that is
torch's varlen kernel; elsewhere, `sdpa` row by row. It is off by default, and stays off for models in which rows would
leak into each other, such as those whose layers mix tokens in other ways.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "tunebase_packed"
TOLERANCE = 0.02
"""Maximum difference in a token's loss. Rounding to bf16 stays below it; text leaking from another row does not."""


def enable(net: Any, losses: Callable[[list[list[int]], bool], torch.Tensor]) -> str | None:
    """Configures `net` for packed rows. Returns why that is not possible, or None.

    `losses`: computes the loss of each token of some rows, packed into one sequence or as a batch.
    """
    config = net.config
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    if set(layers) != {"full_attention"} or getattr(config, "sliding_window", None):
        return "not all of its layers have full attention"
    if config._attn_implementation != "sdpa":
        return f"its attention is {config._attn_implementation}"
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _mask)
    config._attn_implementation = NAME
    rows = [[(17 * n * n + 5 * n + row) % (config.vocab_size - 3) + 3 for n in range(12 - row)] for row in (0, 1, 4)]
    try:
        apart, packed = losses(rows, False), losses(rows, True)
        error = float(((packed - apart).abs() / apart.abs().clamp_min(1.0)).max())
        reason = None if error <= TOLERANCE else "rows would change each other's loss"
    except (RuntimeError, TypeError, ValueError) as problem:  # an architecture that takes no such arguments
        reason = str(problem).splitlines()[0][:200]
    if reason is not None:
        config._attn_implementation = "sdpa"
    return reason


def _mask(*args: Any, attention_mask: torch.Tensor | None, allow_is_causal_skip: bool, **kwargs: Any) -> Any:
    """transformers' mask, but none for packed rows, whose mask of [tokens, tokens] would take hundreds of MB."""
    if attention_mask is None and not allow_is_causal_skip:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, allow_is_causal_skip=allow_is_causal_skip, **kwargs)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: query [batch, heads, tokens, size] to [batch, tokens, heads, size]."""
    own = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if cu_seq_lens_q is None or max_length_q is None:
        unpacked: tuple[torch.Tensor, None] = own(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return unpacked
    if query.device.type != "cuda":
        bounds = cu_seq_lens_q.tolist()
        blocks = [
            own(
                module, *(state[:, :, start:end] for state in (query, key, value)), None,
                dropout=dropout, scaling=scaling, is_causal=True,
            )[0]
            for start, end in pairwise(bounds)
        ]  # fmt: skip
        return torch.cat(blocks, dim=1), None
    from torch.nn.attention.varlen import varlen_attn

    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        query, key, value = (state.to(dtype) for state in (query, key, value))
    q, k, v = (state[0].transpose(0, 1).contiguous() for state in (query, key, value))
    out = varlen_attn(
        q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
        scale=scaling, window_size=(-1, 0), enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    assert isinstance(out, torch.Tensor)
    return out[None], None
