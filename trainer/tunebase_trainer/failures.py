"""Turns an exception into what a user should hear; tracebacks stay in the worker's log."""

from __future__ import annotations

import errno

from .errors import TrainerError


def explain(error: BaseException) -> TrainerError:
    """A TrainerError for any exception of the training process."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return TrainerError(
            "out_of_memory",
            "The GPU's memory is too small for this run, even with one row at a time."
            if isinstance(error, torch.OutOfMemoryError)
            else "The worker's memory is too small for this run.",
            "Use a smaller max_length, a smaller lora_rank, or a smaller base model.",
        )
    return explain_worker(error)


def explain_worker(error: BaseException) -> TrainerError:
    """A TrainerError for any exception of the handler, which never loads torch."""
    if isinstance(error, TrainerError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainerError("disk_full", "The worker's disk is full.", "The operator must give it more room.")
    return TrainerError(
        "internal_error",
        f"The trainer broke ({type(error).__name__}).",
        "It is not your data. The operator finds the traceback in the worker's log.",
    )
