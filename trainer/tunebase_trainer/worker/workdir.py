"""Where attempts work: a directory for each, which is gone when it has ended."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def work_root() -> Path:
    """On the volume where there is one."""
    if named := os.environ.get("TUNEBASE_WORK_DIR"):
        return Path(named)
    volume = Path("/runpod-volume")
    return (volume if volume.is_dir() else Path(tempfile.gettempdir())) / "tunebase" / "work"


def create(job_id: str, attempt: int, fence: int) -> Path:
    """An empty directory of this attempt's holder: workers may share a volume."""
    directory = work_root() / job_id / f"{attempt}-{fence}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def remove(directory: Path, keep: str | None) -> None:
    """Removes the directory, or all in it but `keep` where that is there."""
    if keep is not None and (directory / keep).is_dir():
        for item in directory.iterdir():
            if item.name != keep:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        return
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        directory.parent.rmdir()  # when no other attempt of the job works beside it
