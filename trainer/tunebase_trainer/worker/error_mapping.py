"""Turns an exception into what a user should hear; tracebacks stay in the worker's log."""

from __future__ import annotations

import errno
import shutil

from ..errors import TrainerError
from . import workdir
from .protocol import Hyperparameters


def to_trainer_error(error: BaseException) -> TrainerError:
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
    return to_worker_error(error)


def add_hint(error: TrainerError, hyper: Hyperparameters) -> TrainerError:
    """The error with a hint that names the run's own values, and better ones."""
    length, rank, batch = hyper.max_length, hyper.lora_rank, hyper.batch_size
    smaller = []
    if length > 256:
        smaller.append(f"max_length = {length}: try {max(256, length // 2)}")
    if rank > 8:
        smaller.append(f"lora_rank = {rank}: try {max(8, rank // 2)}")
    added = ""
    match error.code:
        case "out_of_memory":
            added = "; ".join(smaller)
        case "trainer_killed":
            if batch > 1:
                smaller.append(f"batch_size = {batch}: try {batch // 2}")
            added = "; ".join(smaller)
        case "non_finite_loss":
            rate = hyper.learning_rate
            added = f"learning_rate = {rate:g}: try {max(1e-5, rate / 2):g}"
        case "no_chat_template" | "unsupported_gpu" | "base_model_not_found" if hyper.base_model not in error.message:
            added = f"base_model = {hyper.base_model}"
    if not added or ": try " in error.hint or added in error.hint:
        return error
    hint = f"{error.hint.rstrip()} " if error.hint else ""
    return TrainerError(error.code, error.message, f"{hint}Here: {added}.")


def to_worker_error(error: BaseException) -> TrainerError:
    """A TrainerError for any exception of the handler, which never loads torch."""
    if isinstance(error, TrainerError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return TrainerError("disk_full", f"The worker's disk is full{_room()}.", "The operator must give it more room.")
    return TrainerError(
        "internal_error",
        f"The trainer broke ({type(error).__name__}).",
        "It is not your data. The operator finds the traceback in the worker's log.",
    )


def _room() -> str:
    place = workdir.work_root()
    while not place.is_dir():
        place = place.parent
    usage = shutil.disk_usage(place)
    return f" ({usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free where it works)"
