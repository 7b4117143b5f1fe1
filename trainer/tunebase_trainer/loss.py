"""The loss: cross entropy over the learned tokens, and only they go through the vocabulary's projection."""

from __future__ import annotations

from typing import Any

import torch

from .dataset import IGNORED
from .errors import TrainerError


def loss_of(model: Any, batch: dict[str, torch.Tensor], items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross entropy in nats over the learned tokens, divided by `items` (their number in the whole step) or by its own.

    Only columns in which some row learns go through the vocabulary's projection.
    """
    targets = batch["labels"][:, 1:]
    columns = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=columns, use_cache=False
    ).logits
    learned = targets[:, columns]
    mask = learned != IGNORED
    total = torch.nn.functional.cross_entropy(logits[mask].float(), learned[mask], reduction="sum")
    return total / (items if items is not None else mask.sum())


class Diverged(Exception):
    """The loss or the gradient of `step` is not a number."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def diverged(step: int, learning_rate: float, kept: int | None) -> TrainerError:
    """What a user hears of a Diverged; `kept`: the step of the newest checkpoint."""
    lower = max(1e-5, learning_rate / 2)
    advice = f"Lower it: learning_rate = {learning_rate:g}: try {lower:g}. " if lower < learning_rate else ""
    return TrainerError(
        "non_finite_loss",
        f"The training diverged at step {step}: its loss or gradient is not a number."
        + (f" The checkpoint of step {kept}, from before, is kept." if kept is not None else ""),
        f"{advice}Or look for broken rows: very long numbers, or one character repeated.",
    )
