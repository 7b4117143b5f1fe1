"""Downloads, resumable uploads, and file hashes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from ..errors import TrainerError
from .protocol import ArtifactFile, UploadTarget

log = logging.getLogger("tunebase")
MAX_TRIES = 4
OPERATOR_HINT = "Create the job again. If it happens again, the operator must check Storage and its signed URLs."
DIRECT_HINT = "Check the dataset URL: it must be reachable from the worker, not expired, and return the file itself."


async def download(
    session: aiohttp.ClientSession,
    url: str,
    target: Path,
    sha256: str,
    what: str = "The training data",
    hint: str = OPERATOR_HINT,
) -> str:
    """Streams `url` to `target` and returns its SHA-256, which must equal `sha256` unless that is empty.

    Raises TrainerError `dataset_unreachable`. Messages never contain the URL, which grants access to the data.
    """
    host = urlsplit(url).hostname
    problem = ""
    for attempt in range(MAX_TRIES):
        if attempt:
            await asyncio.sleep(2 ** (attempt - 1))
        try:
            async with session.get(url, timeout=aiohttp.ClientTimeout(total=None, sock_read=60)) as response:
                if response.status != 200:
                    problem = f"{host} responded with {response.status}"
                    if response.status < 500 and response.status != 429:
                        break
                    continue
                digest = hashlib.sha256()
                size = 0
                with target.open("wb") as file:
                    async for chunk in response.content.iter_chunked(2**20):
                        digest.update(chunk)
                        size += file.write(chunk)
                if size == 0:
                    problem = "the file is empty (0 bytes)"
                elif sha256 and digest.hexdigest() != sha256:
                    problem = f"the {size} bytes received do not match the uploaded file's SHA-256"
                else:
                    return digest.hexdigest()
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{host}: {type(error).__name__}"
    raise TrainerError(
        "dataset_unreachable",
        f"{what} could not be downloaded: {problem}.",
        hint,
    )


def describe(directory: Path) -> list[ArtifactFile]:
    """Every file in `directory` with its size and SHA-256."""
    files = []
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(
            ArtifactFile(path=path.relative_to(directory).as_posix(), bytes=path.stat().st_size, sha256=digest)
        )
    return files


async def upload(path: Path, target: UploadTarget, on_progress: Callable[[int], None]) -> None:
    """Uploads one file in chunks with TUS, resuming at the server's offset. `on_progress` gets the bytes sent.

    Raises TrainerError `upload_failed`.
    """
    stop = threading.Event()
    loop = asyncio.get_running_loop()

    def report(sent: int) -> None:
        loop.call_soon_threadsafe(on_progress, sent)

    try:
        await asyncio.to_thread(_upload, path, target, report, stop)
    except asyncio.CancelledError:
        stop.set()
        raise


def _upload(path: Path, target: UploadTarget, on_progress: Callable[[int], None], stop: threading.Event) -> None:
    client = TusClient(target.endpoint, headers={"x-signature": target.token})
    metadata = {"bucketName": target.bucket, "objectName": target.object, "contentType": target.content_type}
    try:
        uploader = client.uploader(
            str(path), chunk_size=target.chunk_bytes, metadata=metadata, retries=MAX_TRIES - 1, retry_delay=1
        )
        size = path.stat().st_size
        while uploader.offset < size and not stop.is_set():
            uploader.upload_chunk()
            on_progress(uploader.offset)
    except (TusCommunicationError, requests.RequestException) as error:
        status = getattr(error, "status_code", None)
        log.warning("upload of %s: %s %s", target.path, type(error).__name__, status)
        if status == 413:
            raise TrainerError(
                "upload_failed",
                f"{target.path} has {path.stat().st_size / 1e6:.0f} MB, which exceeds Storage's file size limit (413).",
                "The operator must raise the file size limit of Supabase Storage and of its bucket.",
            ) from error
        raise TrainerError(
            "upload_failed",
            f"{target.path} could not be uploaded: "
            f"{f'Storage responded with {status}' if status else 'Storage could not be reached'}.",
            "Create the job again. If it happens again, the operator must check Storage.",
        ) from error
