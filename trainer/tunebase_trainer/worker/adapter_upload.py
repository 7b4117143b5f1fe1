"""Files into Storage, each read back by Tunebase; and the adapter's way there, even when Tunebase cannot be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from ..errors import CallbackRejected, CallbackUnreachable, TrainerError
from .callback_client import CallbackClient
from .protocol import ArtifactFile, Manifest, UploadTarget
from .transfers import upload

log = logging.getLogger("tunebase")
MANIFEST_FILE = "manifest.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# What lies beside it, as far as the names are known before training is over.
EXTRA_FILES = (
    "README.md", "chat_template.jinja", "loss.svg", "samples.json", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip
# A target's token lives two hours.
TARGETS_SECONDS = 3600.0
# How long the end of an attempt waits for Tunebase before it goes on without it.
FINISH_TIMEOUT_SECONDS = 120.0

Targets = dict[str, UploadTarget]
LocalPath = Callable[[str], Path]
"""Where a file of this path lies on this worker."""


async def upload_all(
    files: list[ArtifactFile],
    local: LocalPath,
    targets: Targets,
    on_progress: Callable[[int], None] = lambda sent: None,
) -> None:
    """Uploads the files, one after the other; `on_progress` hears how many bytes have arrived. Raises TrainerError."""
    done = 0
    for file in files:
        if file.path not in targets:
            raise TrainerError("upload_failed", f"There is no place to upload {file.path} to.")
        await upload(local(file.path), targets[file.path], lambda sent, before=done: on_progress(before + sent))  # type: ignore[misc]
        done += file.bytes


async def verify_all(
    status: CallbackClient, files: list[ArtifactFile], local: LocalPath, targets: Targets, patience: float
) -> None:
    """Has every file read back; one that arrived damaged is uploaded once more. Raises TrainerError."""
    for file in files:
        verified = await status.verify(file, patience)
        if not verified.verified and verified.order != "stop":
            log.warning("%s: %s; uploading it again", file.path, verified.detail)
            await upload_all([file], local, targets)
            verified = await status.verify(file, patience)
        if not verified.verified:
            raise TrainerError(
                "upload_failed", f"{file.path} arrived damaged in Storage: {verified.detail}.", "Create the job again."
            )


class AdapterUpload:
    """Holds upload targets for the adapter while it is trained, and uploads it in the end."""

    def __init__(self, status: CallbackClient) -> None:
        self._status = status
        self._held: Targets = {}

    async def refresh_targets(self) -> None:
        """Asks for targets now and each hour. Runs until it is cancelled."""
        while True:
            try:
                await self._ask([*ADAPTER_FILES, *EXTRA_FILES], patience=TARGETS_SECONDS)
            except CallbackRejected as refused:
                log.warning("no upload targets ahead of time: %s", refused)
                return
            except CallbackUnreachable:
                continue
            await asyncio.sleep(TARGETS_SECONDS)

    async def _ask(self, paths: list[str], patience: float) -> None:
        reply = await self._status.uploads([*paths, MANIFEST_FILE], patience)
        self._held = {target.path: target for target in reply.targets}

    async def deliver(self, adapter: Path, manifest: Manifest) -> tuple[str, Manifest]:
        """Uploads the adapter and then its manifest, has them verified, and says that the attempt succeeded.

        Returns the adapter's place in Storage, and the manifest as it is there. When Tunebase cannot be reached it
        finds the manifest there later; files that had no target ahead of time are then left out. Raises TrainerError.
        """
        status = self._status
        status.stage("uploading", 94)
        try:
            await self._ask([file.path for file in manifest.files], FINISH_TIMEOUT_SECONDS)
        except CallbackRejected:
            raise
        except CallbackUnreachable:
            if not self._held:
                raise
            log.warning("Tunebase cannot be reached; uploading with the targets that it gave before")
        targets = self._held
        without = [file.path for file in manifest.files if file.path not in targets and file.path not in ADAPTER_FILES]
        if without:
            log.warning("there is no place to upload these to: %s", ", ".join(without))
            manifest = manifest.model_copy(
                update={"files": [file for file in manifest.files if file.path not in without]}
            )
        total = sum(file.bytes for file in manifest.files)
        await upload_all(
            manifest.files, adapter.joinpath, targets, lambda sent: status.stage("uploading", 94 + 5 * sent / total)
        )
        # Last: where it lies, everything it names lies too.
        on_progress = adapter.parent / MANIFEST_FILE
        on_progress.write_text(manifest.model_dump_json())
        if MANIFEST_FILE in targets:
            await upload(on_progress, targets[MANIFEST_FILE], lambda sent: None)
        try:
            await verify_all(status, manifest.files, adapter.joinpath, targets, FINISH_TIMEOUT_SECONDS)
            finish = await status.succeeded(manifest, FINISH_TIMEOUT_SECONDS)
        except CallbackRejected:
            raise
        except CallbackUnreachable:
            log.warning("Tunebase cannot be reached; the adapter and its manifest are in Storage")
        else:
            if not finish.accepted:
                raise TrainerError(
                    "upload_failed", f"The adapter was not accepted: {finish.detail}.", "Create the job again."
                )
        first = targets[manifest.files[0].path]
        return f"{first.bucket}/{first.object.removesuffix(first.path)}", manifest
