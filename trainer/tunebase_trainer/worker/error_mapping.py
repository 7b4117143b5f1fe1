"""Maps exceptions to errors for the user. Tracebacks stay in the worker's log."""

from __future__ import annotations

import shutil

from ..contract import MIN_LEARNING_RATE
from ..disk_space import is_disk_full
from ..errors import TrainerError
from . import workdir
from .protocol import Hyperparameters


def to_trainer_error(error: BaseException) -> TrainerError:
    """A TrainerError for any exception of the training process."""
    from ..gpu_errors import is_out_of_gpu_memory

    on_gpu = is_out_of_gpu_memory(error)
    if on_gpu or isinstance(error, MemoryError):
        return TrainerError(
            "out_of_memory",
            "The GPU ran out of memory." if on_gpu else "The worker ran out of main memory.",
            "Reduce batch_size, lora_rank or max_length, or use a smaller base model.",
        )
    return to_worker_error(error)


def to_worker_error(error: BaseException) -> TrainerError:
    """A TrainerError for any exception of the handler, which never loads torch."""
    if isinstance(error, TrainerError):
        return error
    if is_disk_full(error):
        return TrainerError(
            "disk_full", f"The worker's disk is full{_free_space()}.", "The operator must provide more disk space."
        )
    return TrainerError(
        "internal_error",
        f"The trainer failed unexpectedly ({type(error).__name__}).",
        "This is not a problem with your data. The operator can find the traceback in the worker's log.",
    )


def add_hint(error: TrainerError, hyper: Hyperparameters) -> TrainerError:
    """Adds the run's own values to the error's hint, with better ones if possible."""
    memory = [
        _smaller("batch_size", hyper.batch_size, 1),
        _smaller("lora_rank", hyper.lora_rank, 8),
        _smaller("max_length", hyper.max_length, 256),
    ]
    settings: list[tuple[str, str]] = []
    match error.code:
        case "out_of_memory" | "trainer_killed":
            settings = memory
        case "non_finite_loss":
            lower = max(MIN_LEARNING_RATE, hyper.learning_rate / 2)
            better = f": try {lower:g}" if lower < hyper.learning_rate else ", the minimum"
            settings = [(f"learning_rate = {hyper.learning_rate:g}", better)]
        case "no_chat_template" | "unsupported_gpu" | "base_model_not_found":
            settings = [] if hyper.base_model in error.message else [(f"base_model = {hyper.base_model}", "")]
    given = f"{error.message} {error.hint}"
    missing = [f"{setting}{better}" for setting, better in settings if setting not in given]
    if not missing:
        return error
    return TrainerError(error.code, error.message, f"{error.hint} This run: {'; '.join(missing)}.".strip())


def _smaller(name: str, value: int, lowest: int) -> tuple[str, str]:
    return f"{name} = {value}", f": try {max(lowest, value // 2)}" if value > lowest else ""


def _free_space() -> str:
    directory = workdir.work_root()
    while not directory.is_dir():
        directory = directory.parent
    usage = shutil.disk_usage(directory)
    return f" ({usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free in the work directory)"
