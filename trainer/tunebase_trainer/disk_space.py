"""Checks for free disk space before anything is written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from .errors import TrainerError


def check_disk_space(directory: Path, needed: float, what: str) -> None:
    """Raises TrainerError `disk_full` unless `needed` bytes and 5 % more are free where `directory` will be."""
    existing = directory
    while not existing.exists():
        existing = existing.parent
    free, required = shutil.disk_usage(existing).free / 1e9, 1.05 * needed / 1e9
    if free < required:
        raise TrainerError(
            "disk_full",
            f"{what} needs {required:.1f} GB of disk, but {free:.1f} GB are free.",
            f"The operator must give the worker's container disk or volume {required - free:.1f} GB more.",
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception means that the disk or its quota is full. safetensors, torch and the hub wrap the
    OSError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # torch.save raises the last one.
        texts = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing file")
        if any(text in str(cause) for text in texts):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
