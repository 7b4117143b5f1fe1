"""An LRU cache of adapters on disk, which are downloaded over signed URLs and verified.

An adapter's directory is either complete or absent: files are downloaded to a temporary directory, which is renamed
once all of them have the size and SHA-256 in the token. The name is derived from those hashes, so a directory never
goes stale.

Workers of one endpoint may share the directory (a network volume). A worker knows only its own requests, so it does not
evict adapters that any worker has used in the last minutes, judging by the directory's modification time.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from .errors import RequestError, adapter_error
from .settings import Settings
from .token import Adapter, AdapterFile, Claims

log = logging.getLogger("tunebase.inference")

CONFIG = "adapter_config.json"
# The file as downloaded. In the copy that the engine reads, the base is this engine's.
ORIGINAL_CONFIG = "adapter_config.original.json"
MAX_CONFIG_BYTES = 2**20
CHUNK_BYTES = 2**20
MAX_TRIES = 3
# Longer than any request, because a load-balancing endpoint ends requests after 5.5 minutes.
IN_USE_SECONDS = 400.0
ABANDONED_SECONDS = 3600.0


class AdapterCache:
    """One per process. Not thread-safe, because all calls come from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.adapter_directory
        self._session: aiohttp.ClientSession | None = None
        # By name: the number of requests in this process that are using the adapter.
        self._users: dict[str, int] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        # Bytes reserved for downloads in progress, which are not in the directory yet.
        self._reserved: dict[str, int] = {}
        # Adapters that this process has verified. A directory of an earlier process is verified on its first use.
        self._verified: set[str] = set()
        # When this process last used each adapter.
        self._touched: dict[str, float] = {}
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()

    def path(self, name: str) -> Path:
        return self._directory / name

    @asynccontextmanager
    async def hold(self, claims: Claims) -> AsyncIterator[None]:
        """Provides the adapter's files and keeps them on disk until the block ends. The base needs none.

        Raises RequestError 424 if they are unavailable, damaged or incompatible with this engine.
        """
        base = claims.base
        if (base.source, base.revision) != (self._settings.base_model, self._settings.base_revision):
            raise adapter_error(
                "base_model_mismatch",
                f"This endpoint serves {_version(self._settings.base_model, self._settings.base_revision)}, "
                f"but the model needs {_version(base.source, base.revision)}.",
            )
        if claims.adapter is None:
            yield
            return
        name = claims.model
        self._users[name] = self._users.get(name, 0) + 1
        try:
            await self._provide(name, claims.adapter)
            yield
        finally:
            self._users[name] -= 1
            if self._users[name] == 0:
                del self._users[name]

    async def close(self) -> None:
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _provide(self, name: str, adapter: Adapter) -> None:
        if adapter.rank > self._settings.max_rank:
            raise _rank_too_large(adapter.rank, self._settings.max_rank)
        if name in self._verified and self._touch(name):
            return
        task = self._loading.get(name)
        if task is None:
            task = asyncio.create_task(self._load(name, adapter))
            self._loading[name] = task
            task.add_done_callback(lambda _: self._loading.pop(name, None))
            # All requests that await it may have ended. Its error must not be reported as unhandled then.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shielded, so that the end of one request does not cancel the download for others.
        await asyncio.shield(task)

    def _touch(self, name: str) -> bool:
        """Marks it as used now. Returns False if it does not exist."""
        now = time.time()
        try:
            os.utime(self.path(name), (now, now))
        except FileNotFoundError:
            return False
        self._touched[name] = now
        return True

    async def _load(self, name: str, adapter: Adapter) -> None:
        self._verified.discard(name)
        if self._touch(name):
            if await asyncio.to_thread(self._verify_directory, self.path(name), adapter):
                self._verified.add(name)
                return
            log.warning("%s on disk does not match its hashes; downloading it again", name)
            await asyncio.to_thread(self._remove, self.path(name))
        started = time.monotonic()
        self._make_room(name, adapter.bytes)
        try:
            await self._download_adapter(name, adapter)
        finally:
            del self._reserved[name]
        self._touch(name)
        self._verified.add(name)
        log.info("loaded %s: %d bytes in %.2f s", name, adapter.bytes, time.monotonic() - started)

    async def _download_adapter(self, name: str, adapter: Adapter) -> None:
        temporary = self._directory / f".loading-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            async with asyncio.TaskGroup() as group:
                for file in adapter.files:
                    group.create_task(self._download(file, temporary / file.path))
            (temporary / CONFIG).rename(temporary / ORIGINAL_CONFIG)
            self._write_config(temporary)
            try:
                temporary.rename(self.path(name))
            except OSError:
                # Another worker on this volume was faster and has written the same content.
                if not await asyncio.to_thread(self._verify_directory, self.path(name), adapter):
                    raise
        except ExceptionGroup as group_error:
            raise _first_error(group_error) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, temporary, True)

    async def _download(self, file: AdapterFile, target: Path) -> None:
        self._check_url(file)
        problem = ""
        for attempt in range(MAX_TRIES):
            if attempt:
                await asyncio.sleep(0.25 * 2**attempt)
            try:
                async with self._http().get(file.url, allow_redirects=False) as response:
                    if response.status == 200:
                        return await _receive(response, file, target)
                    problem = f"Storage responded with {response.status}"
                    if response.status < 500 and response.status != 429:
                        break
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = type(error).__name__
        raise adapter_error("adapter_unavailable", f"{file.path} of the model could not be downloaded: {problem}.")

    def _check_url(self, file: AdapterFile) -> None:
        parts = urlsplit(file.url)
        local = self._settings.allow_loopback and is_this_machine(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise adapter_error("adapter_unavailable", f"The URL of {file.path} must begin with https.")

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
            # `identity`: sizes and hashes are those of the stored bytes.
            self._session = aiohttp.ClientSession(timeout=timeout, headers={"accept-encoding": "identity"})
        return self._session

    # --- the directory

    def _verify_directory(self, directory: Path, adapter: Adapter) -> bool:
        """Whether every file has its size and SHA-256. Rewrites the engine's config, because the base's path may have
        changed."""
        try:
            for file in adapter.files:
                path = directory / (ORIGINAL_CONFIG if file.path == CONFIG else file.path)
                if path.stat().st_size != file.bytes:
                    return False
                with path.open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                        return False
            self._write_config(directory)
        except FileNotFoundError:
            return False
        return True

    def _write_config(self, directory: Path) -> None:
        """Writes the config that the engine reads. Raises RequestError for an adapter that it would serve
        incorrectly."""
        source = directory / ORIGINAL_CONFIG
        if source.stat().st_size > MAX_CONFIG_BYTES:
            raise adapter_error("adapter_unsupported", "adapter_config.json is too large.")
        try:
            config = json.loads(source.read_bytes())
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise adapter_error("adapter_unsupported", "adapter_config.json is not a JSON object.")
        check_config(config, self._settings.max_rank)
        config["base_model_name_or_path"] = self._settings.base_path
        config["revision"] = None
        text = json.dumps(config, indent=2, sort_keys=True)
        target = directory / CONFIG
        if target.is_file() and target.read_text() == text:
            return
        temporary = directory / f".config-{uuid.uuid4().hex}"
        temporary.write_text(text)
        temporary.replace(target)

    def _make_room(self, name: str, needed: int) -> None:
        """Reserves bytes for a download, and evicts the least recently used adapters until they fit."""
        limit = self._settings.cache_bytes
        if needed > limit:
            raise adapter_error(
                "adapter_unavailable", f"The model's adapter has {needed} bytes; this worker's limit is {limit}."
            )
        entries = self._entries()
        used = sum(size for _, _, size in entries) + sum(self._reserved.values())
        cutoff = time.time() - IN_USE_SECONDS
        for modified, path, size in sorted(entries):
            if used + needed <= limit:
                break
            if path.name in self._users or path.name in self._loading:
                continue
            # Another worker has used it more recently than this one, and may still be using it.
            if modified > max(cutoff, self._touched.get(path.name, 0.0) + 1.0):
                continue
            log.info("evicting %s: %d bytes", path.name, size)
            self._remove(path)
            used -= size
        if used + needed > limit:
            message = "All adapters on this worker are in use, and its disk is full. Try again shortly."
            raise RequestError(503, "adapter_cache_full", message, "server_error")
        self._reserved[name] = needed

    def _entries(self) -> list[tuple[float, Path, int]]:
        """The modification time, path and size of every complete adapter."""
        found = []
        for path in self._directory.glob("tb-*"):
            try:
                size = sum(file.stat().st_size for file in path.iterdir())
                found.append((path.stat().st_mtime, path, size))
            except FileNotFoundError:
                continue  # another worker evicted it
        return found

    def _remove(self, path: Path) -> None:
        """Removes a directory. Renames it first, so that it is never visible half-deleted."""
        self._verified.discard(path.name)
        self._touched.pop(path.name, None)
        trash = self._directory / f".evicted-{uuid.uuid4().hex}"
        try:
            path.rename(trash)
        except FileNotFoundError:
            return
        shutil.rmtree(trash, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Removes leftovers of killed processes. Keeps recent directories, which may be downloads of other workers on
        this volume."""
        for path in self._directory.glob(".*-*"):
            try:
                if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            except FileNotFoundError:
                continue


def check_config(config: dict[str, Any], max_rank: int) -> None:
    """Raises RequestError for adapters that vLLM rejects, serves incompletely, or crashes on."""
    rank_pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(rank_pattern.values() if isinstance(rank_pattern, dict) else [None])]
    if config.get("peft_type") != "LORA" or not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise adapter_error("adapter_unsupported", "adapter_config.json does not describe a LoRA adapter.")
    rank = max(rank for rank in ranks if isinstance(rank, int))
    if rank > max_rank:
        raise _rank_too_large(rank, max_rank)
    for name in ("use_dora", "modules_to_save", "target_parameters", "trainable_token_indices"):
        if config.get(name):
            message = f"The adapter uses {name}, which cannot be served as an adapter. Merge it into its base first."
            raise adapter_error("adapter_unsupported", message)


async def _receive(response: aiohttp.ClientResponse, file: AdapterFile, target: Path) -> None:
    """Streams a body to disk. Stops as soon as it is too long."""
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as output:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > file.bytes:
                break
            # In a thread, so that the event loop can stream other requests' tokens meanwhile.
            await asyncio.to_thread(_consume, digest, output, chunk)
    if size != file.bytes or digest.hexdigest() != file.sha256:
        raise adapter_error("adapter_corrupt", f"{file.path} of the model does not match its size and SHA-256.")


def _consume(digest: Any, output: Any, chunk: bytes) -> None:
    digest.update(chunk)
    output.write(chunk)


def is_this_machine(host: str) -> bool:
    """Whether `host` is localhost or an address of this machine, such as that of a container network's bridge."""
    if host in ("localhost", "127.0.0.1", "::1"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
        try:
            probe.bind((host, 0))  # only its own addresses can be bound
        except OSError:
            return False
    return True


def _rank_too_large(rank: int, limit: int) -> RequestError:
    return adapter_error("rank_too_large", f"The adapter has rank {rank}; this endpoint serves ranks up to {limit}.")


def _version(source: str, revision: str | None) -> str:
    return source if revision is None else f"{source} at revision {revision}"


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first
