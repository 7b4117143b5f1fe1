"""Sample answers of the base model and of the adapter to a few prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from transformers import StoppingCriteria

from ..data.dataset import Prompt

MAX_NEW_TOKENS = 128
# Longer prompts are skipped: samples must never need more memory than training.
MAX_PROMPT_TOKENS = 1024


class DeadlineStoppingCriteria(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped
    """Ends an answer when its time is over, or the worker is stopped."""

    def __init__(self, seconds: float, stop_requested: Callable[[], bool]) -> None:
        self.until, self.stop_requested = time.monotonic() + seconds, stop_requested

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        over = self.stop_requested() or time.monotonic() > self.until
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)


def sample_answers(
    net: Any, tokenizer: Any, prompts: list[Prompt], seconds: float, stop_requested: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Greedy answers of up to `MAX_NEW_TOKENS` tokens; the tuned model first, each side in half of `seconds`.

    `…_finished` is false for an answer that was cut off.
    """
    encoded = [(prompt, tokenizer(prompt.text, add_special_tokens=False).input_ids) for prompt in prompts]
    encoded = [(prompt, ids) for prompt, ids in encoded if 0 < len(ids) <= MAX_PROMPT_TOKENS]
    if not encoded:
        return []
    ids = [ids for _, ids in encoded]
    net.eval()
    tuned = _answers(net, tokenizer, ids, nullcontext(), DeadlineStoppingCriteria(seconds / 2, stop_requested))
    base = _answers(net, tokenizer, ids, net.disable_adapter(), DeadlineStoppingCriteria(seconds / 2, stop_requested))
    return [
        {
            "line": prompt.line,
            "prompt": prompt.question,
            "expected": prompt.expected,
            "base": of_base[0],
            "base_finished": of_base[1],
            "tuned": of_tuned[0],
            "tuned_finished": of_tuned[1],
        }
        for (prompt, _), of_base, of_tuned in zip(encoded, base, tuned, strict=True)
    ]


def _answers(
    net: Any, tokenizer: Any, ids: list[list[int]], adapter: Any, deadline: DeadlineStoppingCriteria
) -> list[tuple[str, bool]]:
    given = net.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])} - {None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    width = max(map(len, ids))
    device = next(net.parameters()).device
    with adapter, torch.inference_mode():
        out = net.generate(
            input_ids=torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=device),
            attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=device),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad,
            stopping_criteria=[deadline],
        )
    return [_answer(tokenizer, row[width:], ends) for row in out.tolist()]


def _answer(tokenizer: Any, tokens: list[int], ends: set[int]) -> tuple[str, bool]:
    end = next((i for i, token in enumerate(tokens) if token in ends), None)
    return str(tokenizer.decode(tokens[:end], skip_special_tokens=True)).strip(), end is not None
