"""Downloads models from the Hugging Face hub: the small files first, the weights only when a run needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..disk_space import check_disk_space, is_disk_full
from ..errors import TrainerError
from ..text import counted
from .locking import lock

Report = Callable[[str], None]
"""Receives lines for the job's log."""

METADATA = ["*.json", "*.jinja", "*.txt", "*.model"]
WEIGHTS = ["*.safetensors"]
# Mistral's repositories contain their weights a second time, in a file of this name.
DUPLICATES = ["*consolidated*.safetensors"]
PROGRESS_SECONDS = 20.0


def fetch(source: str, revision: str | None, patterns: list[str], report: Report) -> Path:
    """Downloads all files that match `patterns` and returns the snapshot's directory. Reports the progress of long
    downloads.

    Of the workers that share a cache, one downloads and the others wait. Works offline if the files are already cached.

    Raises TrainerError `base_model_not_found`, `base_model_unreachable` or `disk_full`.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import DryRunError

    cache = Path(constants.HF_HUB_CACHE)
    folder = cache / f"models--{source.replace('/', '--')}"
    try:
        with lock(folder, lambda: report(f"Another worker is downloading {source}; waiting for it.")):
            try:
                files = snapshot_download(
                    source, revision=revision, allow_patterns=patterns, ignore_patterns=DUPLICATES, dry_run=True
                )
                missing = sum(file.file_size or 0 for file in files if file.will_download)
            except DryRunError:  # the hub is unreachable: the local files may be enough
                missing = 0
            check_disk_space(cache, missing, f"The base model {source!r}")
            with _progress(folder, missing, report):
                return Path(
                    snapshot_download(source, revision=revision, allow_patterns=patterns, ignore_patterns=DUPLICATES)
                )
    except TrainerError:
        raise
    except Exception as error:
        raise _explain(source, revision, error) from error


def _explain(source: str, revision: str | None, error: Exception) -> TrainerError:
    from huggingface_hub import constants, errors

    what = f"The base model {source!r} (revision {revision or 'main'})"
    if is_disk_full(error):
        return TrainerError(
            "disk_full", f"{what} did not fit the worker's disk.", "The operator must provide more disk space."
        )
    if isinstance(error, errors.GatedRepoError):
        return TrainerError(
            "base_model_not_found",
            f"{what} is gated: its license must be accepted first.",
            f"The operator must accept the license at https://huggingface.co/{source} and set that account's HF_TOKEN "
            "on the RunPod endpoint.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return TrainerError(
            "base_model_not_found", f"{what} has no such revision.", "The operator must correct base_models.revision."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return TrainerError(
            "base_model_not_found",
            f"{what} does not exist on the Hugging Face hub, or is private.",
            "The operator must correct base_models.source, or set the HF_TOKEN of an account with access.",
        )
    if isinstance(error, errors.HFValidationError):
        return TrainerError(
            "base_model_not_found",
            f"The base model {source!r} is not a valid name.",
            "It must be a directory on the worker, package:<name>, or a hub id such as Qwen/Qwen3-8B.",
        )
    if isinstance(error, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return TrainerError(
            "base_model_not_found",
            f"{what} is not in the worker's cache, and HF_HUB_OFFLINE is set.",
            "The operator must unset HF_HUB_OFFLINE, or download the model to the cache.",
        )
    return TrainerError(
        "base_model_unreachable",
        f"{what} could not be downloaded ({type(error).__name__}).",
        "The Hugging Face hub did not respond, or the connection was lost. The job will be retried.",
    )


@contextmanager
def _progress(folder: Path, total: int, report: Report) -> Iterator[None]:
    """Reports the progress of a download that takes longer than PROGRESS_SECONDS, from the size of its files."""
    if total == 0:
        yield
        return
    done = threading.Event()
    before, started = _disk_bytes(folder), time.monotonic()

    def watch() -> None:
        while not done.wait(PROGRESS_SECONDS):
            report(download_progress(_disk_bytes(folder) - before, total, time.monotonic() - started))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def download_progress(received: int, total: int, seconds: float) -> str:
    """A line such as `Downloading the base model: 12.3 of 163.0 GB, about 9 minutes left.`"""
    received = min(max(received, 0), total)
    line = f"Downloading the base model: {received / 1e9:.1f} of {total / 1e9:.1f} GB"
    if received == 0:
        return f"{line}."
    minutes = round((total - received) * seconds / received / 60)
    left = "less than a minute" if minutes == 0 else f"about {counted(minutes, 'minute')}"
    return f"{line}, {left} left."


def _disk_bytes(folder: Path) -> int:
    """The disk usage of the files in `folder`. A download may preallocate a file, so its length does not show
    progress."""
    size = 0
    for file in folder.glob("blobs/*"):
        try:
            size += file.stat().st_blocks * 512
        except FileNotFoundError:
            pass  # it was renamed in the meantime
    return size
