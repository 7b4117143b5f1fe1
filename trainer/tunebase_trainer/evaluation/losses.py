"""The loss of the base and the fine-tuned model on the same rows and, for preference pairs, which answer is more
likely."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ..data.batches import collate
from ..data.dataset import Example, Pair
from ..model import distributed, precision
from ..training.loss import token_losses

LineExamples = Sequence[Example]
"""The examples of one row of the file."""


@dataclass(frozen=True)
class LossScores:
    loss: float | None
    preference_accuracy: float | None


@dataclass(frozen=True)
class LossComparison:
    rows: int
    """How many rows were measured."""
    base: LossScores
    tuned: LossScores


@torch.no_grad()
def compare_losses(
    net: Any,
    rows: Sequence[LineExamples],
    micro_batch_size: int,
    pad: int,
    deadline: float,
    stop_requested: Callable[[], bool],
) -> LossComparison:
    """Measures rows until `deadline`, but at least one batch, each row with both models.

    Several processes share the rows. Collective: every rank must call it.
    """
    net.eval()
    size = micro_batch_size * distributed.world_size()
    # For each model: loss, trained tokens, pairs, and pairs whose preferred answer is more likely.
    sums = torch.zeros(2, 4, dtype=torch.float64)
    measured = 0
    for chunk in _chunks(rows, size):
        if distributed.any_rank(stop_requested() or (measured > 0 and time.monotonic() >= deadline)):
            break
        examples = [example for row in chunk for example in row]
        for start in range(0, len(examples), size):
            own = examples[start + distributed.rank() : start + size : distributed.world_size()]
            # A rank without examples also runs the model, because all ranks gather a sharded base together.
            batch = {name: part.to(net.device) for name, part in collate(own or examples[:1], pad).items()}
            for side, adapter in enumerate((net.disable_adapter(), nullcontext())):
                values = _measure(net, batch, adapter, isinstance(examples[0], Pair))
                if own:
                    sums[side] += values
        measured += len(chunk)
    base, tuned = (_scores(side) for side in distributed.all_reduce(sums).tolist())
    return LossComparison(measured, base, tuned)


def _chunks(rows: Sequence[LineExamples], size: int) -> Iterator[list[LineExamples]]:
    """Batches of whole rows with at least `size` examples each."""
    chunk: list[LineExamples] = []
    for row in rows:
        chunk.append(row)
        if sum(map(len, chunk)) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _measure(
    net: Any, batch: dict[str, torch.Tensor], adapter: AbstractContextManager[Any], is_pairs: bool
) -> torch.Tensor:
    with adapter, precision.autocast(net.device.type):
        losses, learned = token_losses(net, batch)
    by_answer = losses.new_zeros(learned.shape).masked_scatter(learned, losses).double().sum(dim=1)
    if not is_pairs:
        return torch.tensor([float(by_answer.sum()), int(learned.sum()), 0, 0], dtype=torch.float64)
    preferred, other = by_answer[::2], by_answer[1::2]
    likelier = int((preferred < other).sum())
    tokens = int(learned[::2].sum())
    return torch.tensor([float(preferred.sum()), tokens, len(preferred), likelier], dtype=torch.float64)


def _scores(sums: list[float]) -> LossScores:
    loss, tokens, pairs, likelier = sums
    return LossScores(loss / tokens if tokens else None, likelier / pairs if pairs else None)
