"""Keeps the adapter of a directly called worker: on the volume, or as one tar uploaded to a signed URL."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from ..errors import TrainerError
from . import workdir
from .protocol import AdapterUploaded
from .transfers import MAX_TRIES

log = logging.getLogger("tunebase")

LOST_WITH_THE_CONTAINER = (
    "The adapter stays on this container's disk and is lost when the worker stops. Set adapter_upload_url, or attach a "
    "network volume to the endpoint."
)


def loss_warning(adapter_upload_url: str | None) -> str | None:
    """A warning if the adapter would be lost with this container."""
    return LOST_WITH_THE_CONTAINER if adapter_upload_url is None and not workdir.is_on_volume() else None


async def upload_tar(session: aiohttp.ClientSession, url: str, adapter: Path) -> AdapterUploaded:
    """Sends the files of `adapter` by PUT as one tar, uncompressed because weights do not compress. Raises
    `upload_failed`.

    Messages never contain the URL, which grants access.
    """
    archive = adapter.with_suffix(".tar")
    try:
        uploaded = await asyncio.to_thread(_pack, adapter, archive)
        await _put(session, url, archive)
    finally:
        archive.unlink(missing_ok=True)
    return uploaded


def _pack(adapter: Path, archive: Path) -> AdapterUploaded:
    with tarfile.open(archive, "w") as tar:
        for path in sorted(item for item in adapter.rglob("*") if item.is_file()):
            tar.add(path, arcname=path.relative_to(adapter).as_posix())
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return AdapterUploaded(bytes=archive.stat().st_size, sha256=digest)


async def _put(session: aiohttp.ClientSession, url: str, archive: Path) -> None:
    host = urlsplit(url).hostname
    headers = {"content-type": "application/x-tar", "content-length": str(archive.stat().st_size)}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=300)
    problem = ""
    for attempt in range(MAX_TRIES):
        if attempt:
            await asyncio.sleep(2 ** (attempt - 1))
        try:
            with archive.open("rb") as file:
                async with session.put(
                    url, data=file, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    if 200 <= response.status < 300:
                        return
                    problem = f"{host} responded with {response.status}"
                    if response.status < 500 and response.status != 429:
                        break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{host}: {type(error).__name__}"
        log.warning("upload of the adapter: %s", problem)
    raise TrainerError(
        "upload_failed",
        f"The adapter could not be uploaded to adapter_upload_url: {problem}.",
        "Check adapter_upload_url: it must accept an HTTPS PUT and stay valid until training has ended.",
    )
