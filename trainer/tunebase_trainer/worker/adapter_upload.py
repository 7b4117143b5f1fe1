"""Uploads to Storage, each read back by Tunebase; and the adapter's upload, even while Tunebase is unreachable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from ..errors import CallbackRejected, CallbackUnreachable, TrainerError
from .callback_client import CallbackClient
from .protocol import ArtifactFile, Manifest, UploadTarget
from .transfers import upload

log = logging.getLogger("tunebase")
MANIFEST_FILE = "manifest.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# Further files whose names are known before training has finished.
EXTRA_FILES = (
    "README.md", "chat_template.jinja", "loss.svg", "samples.json", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip
# How often targets are renewed; a target's token is valid for two hours.
TARGETS_SECONDS = 3600.0
# How long the end of an attempt waits for Tunebase before it continues without it.
FINISH_TIMEOUT_SECONDS = 120.0

Targets = dict[str, UploadTarget]
LocalPath = Callable[[str], Path]
"""Where a file of the artifact is on this worker's disk."""


async def upload_all(
    files: list[ArtifactFile],
    local: LocalPath,
    targets: Targets,
    on_progress: Callable[[int], None] = lambda sent: None,
) -> None:
    """Uploads the files, one after the other; `on_progress` gets the bytes sent so far. Raises TrainerError."""
    done = 0
    for file in files:
        if file.path not in targets:
            raise TrainerError("upload_failed", f"Tunebase gave no upload target for {file.path}.")
        await upload(local(file.path), targets[file.path], lambda sent, before=done: on_progress(before + sent))  # type: ignore[misc]
        done += file.bytes


async def verify_all(
    callbacks: CallbackClient,
    files: list[ArtifactFile],
    local: LocalPath,
    targets: Targets,
    timeout_seconds: float,
) -> None:
    """Has the server read every file back; a damaged one is uploaded once more. Raises TrainerError."""
    for file in files:
        verified = await callbacks.verify(file, timeout_seconds)
        if not verified.verified and verified.directive != "stop":
            log.warning("%s: %s; uploading it again", file.path, verified.detail)
            await upload_all([file], local, targets)
            verified = await callbacks.verify(file, timeout_seconds)
        if not verified.verified:
            raise TrainerError(
                "upload_failed", f"{file.path} is damaged in Storage: {verified.detail}.", "Create the job again."
            )


class AdapterUpload:
    """Keeps upload targets for the adapter while it is trained, and uploads it in the end."""

    def __init__(self, callbacks: CallbackClient, on_progress: Callable[[float], None]) -> None:
        """`on_progress` gets the share of bytes uploaded, 0 to 1."""
        self._callbacks = callbacks
        self._on_progress = on_progress
        self._targets: Targets = {}

    async def refresh_targets(self) -> None:
        """Requests targets now and then every hour. Runs until it is cancelled."""
        while True:
            try:
                await self._request_targets([*ADAPTER_FILES, *EXTRA_FILES], TARGETS_SECONDS)
            except CallbackRejected as rejected:
                log.warning("no upload targets in advance: %s", rejected)
                return
            except CallbackUnreachable:
                continue
            await asyncio.sleep(TARGETS_SECONDS)

    async def _request_targets(self, paths: list[str], timeout_seconds: float) -> None:
        reply = await self._callbacks.uploads([*paths, MANIFEST_FILE], timeout_seconds)
        self._targets = {target.path: target for target in reply.targets}

    async def deliver(
        self, adapter: Path, manifest: Manifest, push: Callable[[Manifest], Awaitable[str | None]]
    ) -> tuple[str, Manifest]:
        """Uploads the adapter and then its manifest, has them verified, pushes them and reports success.

        `push` returns the URL of the repository on the Hugging Face Hub, or None if nothing was pushed.
        Returns the adapter's path in Storage, and the manifest as uploaded. If Tunebase is unreachable it will find the
        manifest later; files without a target are then left out. Raises TrainerError.
        """
        self._on_progress(0)
        await self._request_final_targets([file.path for file in manifest.files])
        manifest = self._without_untargeted(manifest)
        targets = self._targets
        total = sum(file.bytes for file in manifest.files)
        await upload_all(manifest.files, adapter.joinpath, targets, lambda sent: self._on_progress(sent / total))
        # Last: where a manifest is, every file that it names is too.
        manifest_path = adapter.parent / MANIFEST_FILE
        manifest_path.write_text(manifest.model_dump_json())
        if MANIFEST_FILE in targets:
            await upload(manifest_path, targets[MANIFEST_FILE], lambda sent: None)
        await self._verify_and_finish(adapter, manifest, push)
        first = targets[manifest.files[0].path]
        return f"{first.bucket}/{first.object.removesuffix(first.path)}", manifest

    async def _request_final_targets(self, paths: list[str]) -> None:
        try:
            await self._request_targets(paths, FINISH_TIMEOUT_SECONDS)
        except CallbackRejected:
            raise
        except CallbackUnreachable:
            if not self._targets:
                raise
            log.warning("Tunebase is unreachable; using the upload targets requested earlier")

    def _without_untargeted(self, manifest: Manifest) -> Manifest:
        missing = [f.path for f in manifest.files if f.path not in self._targets and f.path not in ADAPTER_FILES]
        if not missing:
            return manifest
        log.warning("no upload targets for: %s", ", ".join(missing))
        return manifest.model_copy(update={"files": [file for file in manifest.files if file.path not in missing]})

    async def _verify_and_finish(
        self, adapter: Path, manifest: Manifest, push: Callable[[Manifest], Awaitable[str | None]]
    ) -> None:
        callbacks = self._callbacks
        try:
            await verify_all(callbacks, manifest.files, adapter.joinpath, self._targets, FINISH_TIMEOUT_SECONDS)
            hub_url = await push(manifest)
            finish = await callbacks.succeeded(manifest, FINISH_TIMEOUT_SECONDS, hub_url)
        except CallbackRejected:
            raise
        except CallbackUnreachable:
            log.warning("Tunebase is unreachable; the adapter and its manifest are in Storage")
            return
        if not finish.accepted:
            raise TrainerError(
                "upload_failed", f"The adapter was not accepted: {finish.detail}.", "Create the job again."
            )
