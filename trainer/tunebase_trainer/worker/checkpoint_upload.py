"""Uploads checkpoints to Storage while training continues, and downloads one to resume from."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ..errors import TrainerError
from .adapter_upload import upload_all, verify_all
from .callback_client import CallbackClient
from .protocol import CheckpointReport, Resume, check_url
from .transfers import describe, download

log = logging.getLogger("tunebase")
# Do not wait longer for a checkpoint, because the next one will follow.
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class SavedCheckpoint:
    """A complete checkpoint directory, as reported by the training."""

    step: int
    epoch: float
    path: Path
    training_loss: float | None
    validation_loss: float | None


class CheckpointUploads:
    """Uploads one checkpoint at a time in the background; a newer one replaces one that is still waiting."""

    def __init__(self, callbacks: CallbackClient) -> None:
        self._callbacks = callbacks
        self._waiting: SavedCheckpoint | None = None
        self._uploading: SavedCheckpoint | None = None
        self._on_disk: list[SavedCheckpoint] = []
        self._task: asyncio.Task[None] | None = None
        self.uploaded: int | None = None
        """The step of the newest checkpoint that is complete in Storage."""

    def enqueue(self, saved: SavedCheckpoint) -> None:
        """Accepts a new checkpoint; returns at once."""
        self._waiting = saved
        self._on_disk.append(saved)
        self._remove_superseded()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._upload_all())

    async def drain(self) -> None:
        """Waits until every enqueued checkpoint has been uploaded or has failed."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Cancels an upload in progress."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _upload_all(self) -> None:
        while (saved := self._waiting) is not None:
            self._waiting, self._uploading = None, saved
            try:
                await self._upload(saved)
                self.uploaded = saved.step
            except (TrainerError, OSError) as problem:
                message = f"The checkpoint of step {saved.step} could not be uploaded: {problem}"
                self._callbacks.add_log("warn", message)
            finally:
                self._uploading = None
                self._remove_superseded()

    async def _upload(self, saved: SavedCheckpoint) -> None:
        prefix = f"checkpoints/{saved.step}/"
        files = await asyncio.to_thread(describe, saved.path)
        files = [file.model_copy(update={"path": prefix + file.path}) for file in files]
        reply = await self._callbacks.uploads([file.path for file in files], TIMEOUT_SECONDS)
        targets = {target.path: target for target in reply.targets}

        def local(path: str) -> Path:
            return saved.path / path.removeprefix(prefix)

        await upload_all(files, local, targets)
        await verify_all(self._callbacks, files, local, targets, TIMEOUT_SECONDS)
        self._callbacks.add_checkpoint(
            CheckpointReport(
                step=saved.step,
                epoch=saved.epoch,
                training_loss=saved.training_loss,
                validation_loss=saved.validation_loss,
                files=files,
            )
        )

    def _remove_superseded(self) -> None:
        """Deletes all checkpoints on disk except the newest and the one being uploaded."""
        for saved in self._on_disk[:-1]:
            if saved is not self._uploading:
                shutil.rmtree(saved.path, ignore_errors=True)
                self._on_disk.remove(saved)


async def download_checkpoint(session: aiohttp.ClientSession, resume: Resume, directory: Path) -> Path:
    """Downloads a checkpoint's files into `directory`. Returns the checkpoint's own directory.

    Raises TrainerError if a file is missing or differs from the uploaded one.
    """
    target = directory / f"checkpoint-{resume.step}"
    for file in resume.files:
        check_url("resume.files.url", file.url)
        path = target / file.path.removeprefix(f"checkpoints/{resume.step}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        await download(session, file.url, path, file.sha256, what=f"The checkpoint's file {file.path}")
    return target
