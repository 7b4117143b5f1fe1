"""Greedy answers of the base model and of the adapter to the same prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from ..data.dataset import Prompt

MAX_NEW_TOKENS = 256
# An answer may be this much longer than the longest expected answer of its batch.
EXTRA_TOKENS = 32
# Longer prompts are skipped: answers must never need more memory than training.
MAX_PROMPT_TOKENS = 1024
# The maximum tokens of a batch's prompts and answers, including padding. A CPU gains little from larger batches.
MAX_BATCH_TOKENS = 16384
MAX_BATCH_GPU, MAX_BATCH_CPU = 32, 4


@dataclass(frozen=True)
class Answer:
    text: str
    finished: bool
    """False if it reached the token limit or the deadline."""
    interrupted: bool
    """Cut off at the deadline, so it says nothing about the model."""


@dataclass(frozen=True)
class AnsweredPrompt:
    prompt: Prompt
    base: Answer
    tuned: Answer

    @property
    def is_comparable(self) -> bool:
        return self.prompt.is_comparable and not (self.base.interrupted or self.tuned.interrupted)


@dataclass(frozen=True)
class _EncodedPrompt:
    prompt: Prompt
    ids: list[int]
    expected_tokens: int


class DeadlineStoppingCriteria(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped
    """Ends a batch of answers at the deadline, or when the worker is stopped."""

    def __init__(self, until: float, stop_requested: Callable[[], bool]) -> None:
        self.until, self.stop_requested = until, stop_requested

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        over = self.stop_requested() or time.monotonic() > self.until
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)


def answer_prompts(
    net: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    sample_count: int,
    deadline: float,
    stop_requested: Callable[[], bool],
) -> list[AnsweredPrompt]:
    """Answers the prompts in order, in batches, until `deadline`, each batch with and without the adapter.

    After the first `sample_count` prompts, answers only those whose answers can be compared with the expected ones. The
    first batch is returned even if it reached the deadline; of later batches, only complete answers.
    """
    net.eval()
    device = next(net.parameters()).device
    answered: list[AnsweredPrompt] = []
    encoded = _encode(tokenizer, prompts, sample_count)
    for batch in _batches(encoded, MAX_BATCH_CPU if device.type == "cpu" else MAX_BATCH_GPU):
        now = time.monotonic()
        if answered and (now >= deadline or stop_requested()):
            break
        half = now + (deadline - now) / 2
        tuned = _answer_batch(net, tokenizer, batch, nullcontext(), DeadlineStoppingCriteria(half, stop_requested))
        criteria = DeadlineStoppingCriteria(deadline, stop_requested)
        base = _answer_batch(net, tokenizer, batch, net.disable_adapter(), criteria)
        interrupted = any(answer.interrupted for answer in base + tuned)
        if interrupted and answered:
            break
        answered += [
            AnsweredPrompt(row.prompt, of_base, of_tuned)
            for row, of_base, of_tuned in zip(batch, base, tuned, strict=True)
        ]
        if interrupted:
            break
    return answered


def _encode(tokenizer: Any, prompts: Sequence[Prompt], sample_count: int) -> Iterator[_EncodedPrompt]:
    samples = 0
    for prompt in prompts:
        ids = tokenizer(prompt.text, add_special_tokens=False).input_ids
        if not 0 < len(ids) <= MAX_PROMPT_TOKENS:
            continue
        expected = len(tokenizer(prompt.expected, add_special_tokens=False).input_ids)
        # A longer expected answer could never match, through no fault of the model.
        if samples < sample_count or (prompt.is_comparable and expected < MAX_NEW_TOKENS):
            samples += 1
            yield _EncodedPrompt(prompt, ids, expected)


def _batches(encoded: Iterator[_EncodedPrompt], size: int) -> Iterator[list[_EncodedPrompt]]:
    batch: list[_EncodedPrompt] = []
    for row in encoded:
        larger = [*batch, row]
        width = max(len(other.ids) for other in larger) + _new_tokens(larger)
        if batch and (len(larger) > size or len(larger) * width > MAX_BATCH_TOKENS):
            yield batch
            larger = [row]
        batch = larger
    if batch:
        yield batch


def _new_tokens(batch: Sequence[_EncodedPrompt]) -> int:
    return min(MAX_NEW_TOKENS, max(row.expected_tokens for row in batch) + EXTRA_TOKENS)


def _answer_batch(
    net: Any, tokenizer: Any, batch: Sequence[_EncodedPrompt], adapter: Any, criteria: DeadlineStoppingCriteria
) -> list[Answer]:
    given = net.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])} - {None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    ids = [row.ids for row in batch]
    width, limit = max(map(len, ids)), _new_tokens(batch)
    device = next(net.parameters()).device
    with adapter, torch.inference_mode():
        out = net.generate(
            input_ids=torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=device),
            attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=device),
            max_new_tokens=limit,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad,
            stopping_criteria=[criteria],
        )
    return [_to_answer(tokenizer, row[width:], ends, limit) for row in out.tolist()]


def _to_answer(tokenizer: Any, tokens: list[int], ends: set[int], limit: int) -> Answer:
    end = next((i for i, token in enumerate(tokens) if token in ends), None)
    text = str(tokenizer.decode(tokens[:end], skip_special_tokens=True)).strip()
    return Answer(text, finished=end is not None, interrupted=end is None and len(tokens) < limit)
