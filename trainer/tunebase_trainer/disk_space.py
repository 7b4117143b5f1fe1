"""Checks for free disk space before anything is written."""

from __future__ import annotations

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
            f"{what} needs {required:.1f} GB of disk, and {free:.1f} GB are free.",
            f"The operator must give the worker's container disk or volume {required - free:.1f} GB more.",
        )
