"""Turns an exception of the training into what a user should hear."""

from __future__ import annotations

from .errors import TrainerError


def explain(error: BaseException) -> TrainerError:
    """A TrainerError for any exception; tracebacks stay in the worker's log."""
    import errno

    import torch

    if isinstance(error, TrainerError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return TrainerError(
            "out_of_memory",
            "The GPU's memory is too small for this run, even with one row at a time."
            if isinstance(error, torch.OutOfMemoryError)
            else "The worker's memory is too small for this run.",
            "Use a smaller max_length, a smaller lora_rank, or a smaller base model.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainerError("disk_full", "The worker's disk is full.", "The operator must give it more room.")
    return TrainerError(
        "internal_error",
        f"The trainer broke ({type(error).__name__}).",
        "It is not your data. The operator finds the traceback in the worker's log.",
    )
