"""The working directories of attempts, each removed when its attempt has ended."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

# Where RunPod mounts an endpoint's network volume.
VOLUME = Path("/runpod-volume")


def work_root() -> Path:
    """The parent directory: on the network volume, if there is one."""
    if configured := os.environ.get("TUNEBASE_WORK_DIR"):
        return Path(configured)
    return (VOLUME if VOLUME.is_dir() else Path(tempfile.gettempdir())) / "tunebase" / "work"


def is_on_volume() -> bool:
    """Whether files in the work directory outlive this container."""
    return VOLUME.is_dir() and work_root().resolve().is_relative_to(VOLUME)


def create(job_id: str, attempt: int, fence: int) -> Path:
    """Creates an empty directory for the attempt's current holder. Workers may share a volume."""
    directory = work_root() / job_id / f"{attempt}-{fence}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def remove(directory: Path, keep: str | None) -> None:
    """Removes the directory, or everything in it except `keep` if that exists."""
    if keep is not None and (directory / keep).is_dir():
        for item in directory.iterdir():
            if item.name != keep:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        return
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        directory.parent.rmdir()  # unless another attempt of the job is in it
