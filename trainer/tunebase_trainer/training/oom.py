"""Handles a GPU that runs out of memory: detects it before the first step, and suggests values that would fit."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from ..data.dataset import Example
from ..errors import TrainerError
from ..text import counted


class LongestBatchProbe(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Runs the longest micro-batch before the first step, and leaves no trace of it.

    It allocates what Adam's moments will take after that step, so a run that cannot fit fails here and not in the
    middle of an epoch.
    """

    def __init__(self, trainer: Any, rows: list[Example], micro_batch_size: int) -> None:
        self.trainer = trainer
        self.rows = sorted(rows, key=lambda row: row.length)[-micro_batch_size:]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, tokens_seen = self.trainer, self.trainer.tokens_seen
        model = trainer.model_wrapped
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        moments = [torch.empty_like(weight) for weight in trained for _ in range(2)]
        trainer.current_gradient_accumulation_steps = 1
        # The random numbers are restored: the run is the same with and without this.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
            trainer.training_step(model, trainer.data_collator([{"row": row} for row in self.rows]), 1)
        del moments
        model.zero_grad()
        trainer.tokens_seen = tokens_seen


def out_of_memory_error(rows: list[Example], hyper: dict[str, Any], micro_batch_size: int) -> TrainerError:
    """The error of a run that does not fit; suggests values that take about half of the memory."""
    longest, per_row = max(row.length for row in rows), len(rows[0].sequences)
    rank, batch, shorter = hyper["lora_rank"], hyper["batch_size"], longest // 2 // 64 * 64
    suggestions = []
    if micro_batch_size > 1:
        suggestions.append(f"batch_size = {batch}: try {batch // 2}")
        micro_batch = f"micro-batches of {micro_batch_size} rows"
    else:
        micro_batch = "one row" if per_row == 1 else "the two answers of one row"
    if rank >= 8:
        suggestions.append(f"lora_rank = {rank}: try {rank // 2}")
    if shorter >= 64:
        suggestions.append(f"max_length = {hyper['max_length']}: try {shorter}")
    alternative = "or use a smaller base model." if suggestions else "Use a smaller base model."
    return TrainerError(
        "out_of_memory",
        f"The GPU ran out of memory, even with {micro_batch} of {counted(longest, 'token')} at a time "
        f"(batch_size = {batch}, lora_rank = {rank}, max_length = {hyper['max_length']}).",
        "; ".join([*suggestions, alternative]),
    )
