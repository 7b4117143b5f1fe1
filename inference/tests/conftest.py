"""A tiny adapter, a server for its files, and tokens for it."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tunebase_inference.settings import Settings
from tunebase_inference.token import Claims

SECRET = "0123456789abcdef0123456789abcdef"
ENDPOINT = "endpoint-1"


@dataclass
class FileServer:
    """Serves bytes by name and counts requests. `before` runs first and can respond instead."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], Awaitable[web.StreamResponse | None]] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        self.requests.append(name)
        if self.before is not None:
            answer = await self.before(name)
            if answer is not None:
                return answer
        if name not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[name])


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[FileServer]:
    files = FileServer()
    app = web.Application()
    app.router.add_get("/{name:.*}", files.answer)
    server = TestServer(app)
    await server.start_server()
    files.url = str(server.make_url("")).rstrip("/")
    yield files
    await server.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        secret=SECRET,
        endpoint_id=ENDPOINT,
        base_model="org/base",
        base_revision="abc",
        base_path="/models/base",
        adapter_directory=tmp_path / "adapters",
        cache_bytes=10**6,
        max_rank=64,
        allow_loopback=True,
    )


@dataclass(frozen=True)
class Stored:
    """An adapter in Storage, and the claims of tokens for it."""

    name: str
    claims: dict[str, Any]

    def parsed(self, **changes: Any) -> Claims:
        return Claims.model_validate({**self.claims, **changes})

    def token(self, secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
        return jwt.encode({**self.claims, **changes}, secret, algorithm)

    def changed(self, **changes: Any) -> Stored:
        return replace(self, claims={**self.claims, **changes})


def store(storage: FileServer, weights: bytes = b"weights", config: dict[str, Any] | None = None) -> Stored:
    settings = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "somewhere/else"} | (config or {})
    contents = {"adapter_config.json": json.dumps(settings).encode(), "adapter_model.safetensors": weights}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    lines = "".join(sorted(f"{path}:{digest}\n" for path, digest in hashes.items()))
    name = f"tb-{uuid.uuid4().hex}-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    for path, data in contents.items():
        storage.files[f"{name}/{path}"] = data
    adapter = {
        "rank": 8,
        "bytes": sum(len(data) for data in contents.values()),
        "files": [
            {"path": path, "url": f"{storage.url}/{name}/{path}", "bytes": len(data), "sha256": hashes[path]}
            for path, data in contents.items()
        ],
    }
    return Stored(name, {**base_claims(), "model": name, "adapter": adapter})


def base_claims() -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "tunebase",
        "aud": ENDPOINT,
        "iat": now,
        "exp": now + 360,
        "jti": str(uuid.uuid4()),
        "base": {"source": "org/base", "revision": "abc"},
        "model": "base",
        "adapter": None,
        "cache_salt": "salt-1",
    }
