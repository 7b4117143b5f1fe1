"""Downloads, verification and eviction."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conftest import FileServer, Stored, store

from tunebase_inference import adapter_cache as module
from tunebase_inference.adapter_cache import AdapterCache
from tunebase_inference.errors import RequestError
from tunebase_inference.settings import Settings


async def load(cache: AdapterCache, stored: Stored) -> Path:
    async with cache.hold(stored.parsed()):
        return cache.path(stored.name)


async def refusal(cache: AdapterCache, stored: Stored, **changes: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        async with cache.hold(stored.parsed(**changes)):
            pass
    return caught.value


def names(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.adapter_directory.iterdir())


async def test_downloads_verifies_and_names_the_engines_base(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)
    path = await load(AdapterCache(settings), stored)
    assert (path / "adapter_model.safetensors").read_bytes() == b"weights"
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == "/models/base"
    assert names(settings) == [stored.name]


async def test_concurrent_requests_share_one_download(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)
    cache = AdapterCache(settings)
    await asyncio.gather(*(load(cache, stored) for _ in range(20)))
    await load(cache, stored)
    assert len(storage.requests) == 2


async def test_one_cancelled_request_does_not_end_the_download_of_the_others(
    storage: FileServer, settings: Settings
) -> None:
    gate = asyncio.Event()

    async def before(_: str) -> None:
        await gate.wait()

    storage.before = before
    stored = store(storage)
    cache = AdapterCache(settings)
    first, second = (asyncio.create_task(load(cache, stored)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    gate.set()
    assert (await second).is_dir()
    assert len(storage.requests) == 2


@pytest.mark.parametrize("damaged", [b"Weights", b"weight", b"weights and more"])
async def test_a_tampered_file_is_refused_and_leaves_nothing_behind(
    storage: FileServer, settings: Settings, damaged: bytes
) -> None:
    stored = store(storage)
    storage.files[f"{stored.name}/adapter_model.safetensors"] = damaged
    error = await refusal(AdapterCache(settings), stored)
    assert (error.status, error.code) == (424, "adapter_corrupt")
    assert names(settings) == []


async def test_a_missing_file_is_unavailable_and_the_next_request_tries_again(
    storage: FileServer, settings: Settings
) -> None:
    stored = store(storage)
    cache = AdapterCache(settings)
    weights = storage.files.pop(f"{stored.name}/adapter_model.safetensors")
    error = await refusal(cache, stored)
    assert (error.status, error.code) == (424, "adapter_unavailable")
    assert "404" in error.message and storage.url not in error.message
    storage.files[f"{stored.name}/adapter_model.safetensors"] = weights
    assert (await load(cache, stored)).is_dir()


async def test_retries_what_may_pass(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)
    answers = [web.Response(status=503), web.Response(status=429)]

    async def before(name: str) -> web.Response | None:
        return answers.pop() if answers and name.endswith("safetensors") else None

    storage.before = before
    assert (await load(AdapterCache(settings), stored)).is_dir()


async def test_follows_no_redirect(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)

    async def before(_: str) -> web.Response:
        return web.Response(status=302, headers={"location": "http://169.254.169.254/"})

    storage.before = before
    assert (await refusal(AdapterCache(settings), stored)).code == "adapter_unavailable"


async def test_downloads_over_https_alone(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)
    cache = AdapterCache(replace(settings, allow_loopback=False))
    assert "https" in (await refusal(cache, stored)).message
    for url in ("http://example.com/x", "http://192.0.2.1/x", "file:///etc/passwd", "ftp://localhost/x"):
        files = [{**file, "url": url} for file in stored.claims["adapter"]["files"]]
        changed = {**stored.claims["adapter"], "files": files}
        assert "https" in (await refusal(AdapterCache(settings), stored, adapter=changed)).message
    assert storage.requests == []


async def test_another_base_or_revision_is_refused_also_without_an_adapter(
    storage: FileServer, settings: Settings
) -> None:
    stored = store(storage)
    cache = AdapterCache(settings)
    for base in ({"source": "org/other", "revision": "abc"}, {"source": "org/base", "revision": None}):
        assert (await refusal(cache, stored, base=base)).code == "base_model_mismatch"
        assert (await refusal(cache, stored, base=base, model="base", adapter=None)).code == "base_model_mismatch"


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"r": 128}, "rank_too_large"),
        ({"rank_pattern": {"q_proj": 128}}, "rank_too_large"),
        ({"use_dora": True}, "adapter_unsupported"),
        ({"modules_to_save": ["lm_head"]}, "adapter_unsupported"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "adapter_unsupported"),
        ({"peft_type": "IA3"}, "adapter_unsupported"),
    ],
)
async def test_what_the_engine_would_serve_wrongly_is_refused(
    storage: FileServer, settings: Settings, config: dict[str, Any], code: str
) -> None:
    error = await refusal(AdapterCache(settings), store(storage, config=config))
    assert (error.status, error.code) == (424, code)
    assert names(settings) == []


async def test_evicts_what_was_used_longest_ago_and_nothing_in_use(storage: FileServer, settings: Settings) -> None:
    one, two, three = (store(storage, bytes([i]) * 300_000) for i in range(3))
    cache = AdapterCache(replace(settings, cache_bytes=700_000))
    await load(cache, one)
    await asyncio.sleep(0.02)
    await load(cache, two)
    await asyncio.sleep(0.02)
    async with cache.hold(one.parsed()):
        await load(cache, three)
        assert names(cache._settings) == sorted([one.name, three.name])
        async with cache.hold(three.parsed()):
            error = await refusal(cache, two)
            assert (error.status, error.code) == (503, "adapter_cache_full")
    await load(cache, two)
    assert two.name in names(settings)


async def test_downloads_in_progress_count_toward_the_limit(storage: FileServer, settings: Settings) -> None:
    adapters = [store(storage, bytes([i]) * 300_000) for i in range(3)]
    cache = AdapterCache(replace(settings, cache_bytes=700_000))
    results = await asyncio.gather(*(load(cache, stored) for stored in adapters), return_exceptions=True)
    assert sum(isinstance(result, Path) for result in results) == 2


async def test_an_adapter_larger_than_the_cache_is_refused_before_its_download(
    storage: FileServer, settings: Settings
) -> None:
    cache = AdapterCache(replace(settings, cache_bytes=10))
    assert (await refusal(cache, store(storage))).code == "adapter_unavailable"
    assert storage.requests == []


async def test_spares_what_another_worker_on_the_volume_uses(storage: FileServer, settings: Settings) -> None:
    one, two = (store(storage, bytes([i]) * 300_000) for i in range(2))
    small = replace(settings, cache_bytes=400_000)
    here, elsewhere = AdapterCache(small), AdapterCache(small)
    await load(elsewhere, one)
    assert (await refusal(here, two)).code == "adapter_cache_full"
    past = time.time() - module.IN_USE_SECONDS - 1
    os.utime(here.path(one.name), (past, past))
    assert (await load(here, two)).is_dir()


async def test_a_later_process_verifies_what_it_finds(storage: FileServer, settings: Settings) -> None:
    stored = store(storage)
    path = await load(AdapterCache(settings), stored)
    moved = replace(settings, base_path="/elsewhere")
    await load(AdapterCache(moved), stored)
    assert len(storage.requests) == 2
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == "/elsewhere"
    (path / "adapter_model.safetensors").write_bytes(b"Weights")
    await load(AdapterCache(settings), stored)
    assert (path / "adapter_model.safetensors").read_bytes() == b"weights"


async def test_an_adapter_evicted_by_another_worker_is_downloaded_again(
    storage: FileServer, settings: Settings
) -> None:
    stored = store(storage)
    cache = AdapterCache(settings)
    path = await load(cache, stored)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    assert (await load(cache, stored)).is_dir()


async def test_a_new_process_removes_old_temporary_directories(settings: Settings) -> None:
    AdapterCache(settings)
    old, young = settings.adapter_directory / ".loading-1", settings.adapter_directory / ".loading-2"
    old.mkdir()
    young.mkdir()
    past = time.time() - module.ABANDONED_SECONDS - 1
    os.utime(old, (past, past))
    AdapterCache(settings)
    assert names(settings) == [".loading-2"]
