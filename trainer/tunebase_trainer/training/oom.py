"""Handles GPU out-of-memory errors: detects them before the first step, and suggests values that would fit."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from ..data.batches import largest_micro_batch, pack_sequences, padded_tokens
from ..data.dataset import Example
from ..errors import TrainerError
from ..text import counted


class LargestBatchProbe(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Runs the largest micro-batch, by padded tokens, and the longest row before the first step, without side effects.

    Allocates the memory that Adam's moments will need, so that a run that cannot fit fails here instead of in the
    middle of an epoch.
    """

    def __init__(self, trainer: Any, rows: list[Example], tokens: int, rows_per_step: int) -> None:
        self.trainer = trainer
        longest = max(rows, key=lambda row: row.length)
        if trainer.joins_rows:
            most = sorted(rows, key=lambda row: row.length, reverse=True)[:rows_per_step]
            largest = [most[index] for index in max(pack_sequences(most, tokens), key=len)]
        else:
            largest = [rows[index] for index in largest_micro_batch(rows, tokens, rows_per_step)]
        self.batches = [largest] if longest.length == largest[0].length else [largest, [longest]]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, tokens_seen = self.trainer, self.trainer.tokens_seen
        model = trainer.model_wrapped
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        moments = [torch.empty_like(weight) for weight in trained for _ in range(2)]
        trainer.current_gradient_accumulation_steps = 1
        # Restores the state of the random number generators, so that the run is the same with and without the probe.
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
            trainer.training_step(model, [trainer.to_batch(batch) for batch in self.batches], 1)
        del moments
        model.zero_grad()
        trainer.tokens_seen = tokens_seen


def next_smaller_micro_batch(rows: list[Example], tokens: int, rows_per_step: int) -> int | None:
    """Half of the largest micro-batch's tokens, but at least the longest row's.

    None if each micro-batch already has a single row, or no more tokens than the longest row.
    """
    largest = [rows[index] for index in largest_micro_batch(rows, tokens, rows_per_step)]
    most, longest = len(largest) * padded_tokens(largest[0]), max(padded_tokens(row) for row in rows)
    return max(longest, most // 2) if most > longest else None


def out_of_memory_error(rows: list[Example], hyper: dict[str, Any]) -> TrainerError:
    """The error for a run that does not fit even with one row per micro-batch. Suggests values that need less
    memory."""
    longest, per_row = max(row.length for row in rows), len(rows[0].sequences)
    rank, batch, shorter = hyper["lora_rank"], hyper["batch_size"], longest // 2 // 64 * 64
    suggestions = []
    micro_batch = "one row" if per_row == 1 else "the two answers of one row"
    if hyper.get("quantization") == "none":
        suggestions.append("quantization = none: try nf4")
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
