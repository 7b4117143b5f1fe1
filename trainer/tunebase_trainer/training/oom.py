"""What to do about a GPU's memory: find out before the first step, and say what would fit."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from ..data.dataset import Example
from ..errors import TrainerError


class LongestBatchProbe(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Sends the longest micro-batch through the model before the first step, and leaves nothing behind.

    Beside it lies as much as Adam's moments take after that step. What runs out of memory does so here, at once, and
    not in the middle of an epoch.
    """

    def __init__(self, loop: Any, rows: list[Example], micro_batch: int) -> None:
        self.loop = loop
        self.rows = sorted(rows, key=lambda row: row.length)[-micro_batch:]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        loop, seen = self.loop, self.loop.tokens_seen
        model = loop.model_wrapped
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        moments = [torch.empty_like(weight) for weight in trained for _ in range(2)]
        loop.current_gradient_accumulation_steps = 1
        # The run's random numbers stay its own, so that it is the same run with and without this.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
            loop.training_step(model, loop.data_collator([{"row": row} for row in self.rows]), 1)
        del moments
        model.zero_grad()
        loop.tokens_seen = seen


def out_of_memory_error(rows: list[Example], hyper: dict[str, Any]) -> TrainerError:
    """The error of a run whose rows do not fit one by one; names values that would take half of it."""
    longest, many = max(row.length for row in rows), len(rows[0].sequences)
    least = "one row" if many == 1 else "the two answers of one row"
    rank, shorter = hyper["lora_rank"], longest // 2 // 64 * 64
    better = []
    if shorter >= 64:
        better.append(f"max_length = {hyper['max_length']}: try {shorter}")
    if rank >= 8:
        better.append(f"lora_rank = {rank}: try {rank // 2}")
    return TrainerError(
        "out_of_memory",
        f"The GPU's memory is too small for this run, even with {least} of {longest} tokens at a time.",
        "; ".join([*better, "or use a smaller base model." if better else "Use a smaller base model."]),
    )
