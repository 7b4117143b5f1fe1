"""The validation loss and, for preference pairs, how often and by how much the preferred answer wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..data.dataset import Example
from ..model import distributed
from ..training import preference
from ..training.loss import supervised_loss

Batch = dict[str, torch.Tensor]


@torch.no_grad()
def validate(
    model: Any,
    rows: Sequence[Example],
    batches: list[list[int]],
    to_batch: Callable[[list[Example]], Batch],
    beta: float | None,
) -> dict[str, float]:
    """Mean loss over all trained tokens, or over all pairs if `beta` is given. Leaves the model in training mode.

    `batches`: indices of `rows`. Several processes share the rows. Collective: every rank must call it.

    Not the library's evaluation, which averages over batches, so that the result depends on their size, and draws
    random numbers.
    """
    model.eval()
    loss, items, wins, margins = 0.0, 0, 0, 0.0
    # Every rank runs as many batches as the first, because all ranks take part in each forward pass of a sharded base.
    for start in range(0, len(batches), distributed.world_size()):
        batch_rows = [rows[index] for own in batches[start + distributed.rank() :][:1] for index in own]
        batch = to_batch(batch_rows or [rows[batches[-1][-1]]])
        if beta is None:
            batch_loss, batch_items = supervised_loss(model, batch, 1), int((batch["labels"][:, 1:] >= 0).sum())
            if batch_rows:
                loss, items = loss + float(batch_loss), items + batch_items
        else:
            of_pairs = preference.reward_margins(model, batch, beta)
            if batch_rows:
                loss -= float(torch.nn.functional.logsigmoid(of_pairs).sum())
                items += len(of_pairs)
                wins += int((of_pairs > 0).sum())
                margins += float(of_pairs.sum())
    model.train()
    sums = distributed.all_reduce(torch.tensor([loss, items, wins, margins], dtype=torch.float64)).tolist()
    loss, items, wins, margins = sums
    metrics = {"eval_loss": loss / items}
    if beta is not None:
        metrics["eval_accuracy"] = wins / items
        metrics["eval_margin"] = margins / items
    return metrics
