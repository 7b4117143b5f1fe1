"""Whether there is room on the disk, before anything is written to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from .errors import TrainerError


def check_disk_space(directory: Path, needed: float, what: str) -> None:
    """Raises TrainerError `disk_full` unless `needed` bytes and a twentieth more are free where `directory` will be."""
    there = directory
    while not there.exists():
        there = there.parent
    free, needed = shutil.disk_usage(there).free / 1e9, 1.05 * needed / 1e9
    if free < needed:
        raise TrainerError(
            "disk_full",
            f"{what} needs {needed:.1f} GB of disk, and {free:.1f} GB are free.",
            f"The operator must give the worker's container disk or volume {needed - free:.1f} GB more.",
        )
