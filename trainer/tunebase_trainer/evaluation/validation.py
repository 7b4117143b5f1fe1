"""The validation loss; for preference pairs also how often, and by how much, the better answer wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..data.dataset import Example
from ..training import preference
from ..training.loss import supervised_loss

Batch = dict[str, torch.Tensor]


@torch.no_grad()
def validate(
    model: Any, rows: Sequence[Example], batch_size: int, to_batch: Callable[[list[Example]], Batch], beta: float | None
) -> dict[str, float]:
    """Mean loss over all learned tokens, or over all pairs if `beta` is given; leaves the model in training mode.

    Not the library's evaluation: that averages over batches, which depends on their size, and draws random numbers.
    """
    ordered = sorted(rows, key=lambda row: row.length, reverse=True)
    model.eval()
    loss, items = 0.0, 0
    margins: list[float] = []
    for start in range(0, len(ordered), batch_size):
        batch = to_batch(ordered[start : start + batch_size])
        if beta is None:
            loss += float(supervised_loss(model, batch, 1))
            items += int((batch["labels"][:, 1:] >= 0).sum())
        else:
            of_pairs = preference.reward_margins(model, batch, beta)
            loss -= float(torch.nn.functional.logsigmoid(of_pairs).sum())
            items += len(of_pairs)
            margins += of_pairs.tolist()
    model.train()
    metrics = {"eval_loss": loss / items}
    if margins:
        metrics["eval_accuracy"] = sum(margin > 0 for margin in margins) / len(margins)
        metrics["eval_margin"] = sum(margins) / len(margins)
    return metrics
