"""The middleware, in front of an application that returns the request it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from conftest import SECRET, FileServer, Stored, base_claims, store

from tunebase_inference.middleware import MAX_BODY_BYTES, Message, Receive, Scope, Send, TokenMiddleware, current_claims
from tunebase_inference.settings import Settings

Answer = tuple[int, Any, list[Message]]


class Engine:
    """A fake of vLLM that returns 200 with the request it got."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.status = 200
        self.during: Callable[[], Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"" if scope["path"] == "/health" else (await receive())["body"]
        claims = await asyncio.create_task(_claims())
        self.seen.append({"path": scope["path"], "headers": dict(scope["headers"]), "body": body, "claims": claims})
        if self.during is not None:
            await self.during()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b'{"a":', "more_body": True})
        await send({"type": "http.response.body", "body": b"1}", "more_body": False})


async def _claims() -> str | None:
    claims = current_claims.get()
    return None if claims is None else claims.model


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def app(engine: Engine, settings: Settings) -> TokenMiddleware:
    return TokenMiddleware(engine, settings)


def base() -> Stored:
    return Stored("base", base_claims())


async def call(
    app: TokenMiddleware,
    stored: Stored | None,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    body: bytes | None = None,
    headers: list[tuple[bytes, bytes]] | None = None,
    token: str | None = None,
) -> Answer:
    sent: list[Message] = []
    if body is None:
        body = json.dumps({"model": stored.name if stored else "base", "cache_salt": "salt-1", "messages": []}).encode()
    if headers is None:
        text = token if token is not None else stored.token() if stored else None
        headers = [] if text is None else [(b"X-Tunebase-Token", text.encode())]
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}, receive, send)
    data = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(data) if data else None, sent


async def test_passes_a_request_with_its_token_on_untouched(app: TokenMiddleware, engine: Engine) -> None:
    body = b'{"model": "base",  "cache_salt":"salt-1", "prompt": "\\u00e9"}'
    for path in ("/v1/chat/completions", "/v1/completions"):
        status, answer, sent = await call(app, base(), path, body=body)
        assert (status, answer, len(sent)) == (200, {"a": 1}, 3)
        assert engine.seen[-1] == {"path": path, "headers": {}, "body": body, "claims": "base"}
    assert current_claims.get() is None


async def test_provides_the_adapter_before_the_engine_sees_the_request(
    app: TokenMiddleware, engine: Engine, storage: FileServer, settings: Settings
) -> None:
    stored = store(storage)
    assert (await call(app, stored))[0] == 200
    assert engine.seen[0]["claims"] == stored.name
    assert (settings.adapter_directory / stored.name / "adapter_config.json").is_file()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/tokenize"),
        ("GET", "/metrics"),
        ("GET", "/health"),
        ("POST", "/v1/responses"),
        ("POST", "/invocations"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/V1/chat/completions"),
        ("GET", "/docs"),
        ("POST", "/ping"),
    ],
)
async def test_no_other_route_is_reachable_also_with_a_token(
    app: TokenMiddleware, engine: Engine, method: str, path: str
) -> None:
    status, answer, _ = await call(app, base(), path, method)
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert engine.seen == []


async def test_refuses_other_methods_and_websockets(app: TokenMiddleware, engine: Engine) -> None:
    assert (await call(app, base(), method="GET"))[0] == 405
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/v1/realtime"}, _never, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert engine.seen == []


async def _never() -> Message:
    raise AssertionError


async def test_ping_needs_no_token_and_says_how_the_engine_is(app: TokenMiddleware, engine: Engine) -> None:
    assert (await call(app, None, "/ping", "GET"))[0] == 200
    assert engine.seen[0]["path"] == "/health"
    engine.status = 503
    assert (await call(app, None, "/ping", "GET"))[0] == 503


async def test_without_exactly_one_valid_token_nothing_reaches_the_engine(
    app: TokenMiddleware, engine: Engine, storage: FileServer
) -> None:
    token = base().token().encode()
    twice = [(b"x-tunebase-token", token), (b"x-tunebase-token", token)]
    for answer in (
        await call(app, None),
        await call(app, base(), token="x"),
        await call(app, base(), token=base().token(secret=SECRET[::-1])),
        await call(app, base(), headers=twice),
        await call(app, base(), headers=[(b"authorization", b"Bearer " + token)]),
    ):
        status, body, _ = answer
        assert status == 401
        assert body["error"] == {
            "message": body["error"]["message"],
            "type": "authentication_error",
            "param": None,
            "code": "invalid_token",
        }
    assert engine.seen == []


async def test_a_token_is_for_one_model_and_one_cache_salt(
    app: TokenMiddleware, engine: Engine, storage: FileServer
) -> None:
    mine, theirs = store(storage, b"mine"), store(storage, b"theirs")
    bodies = [
        {"model": theirs.name, "cache_salt": "salt-1"},
        {"model": "base", "cache_salt": "salt-1"},
        {"model": mine.name, "cache_salt": "salt-2"},
        {"model": mine.name},
        {"cache_salt": "salt-1"},
        {"model": [mine.name], "cache_salt": "salt-1"},
    ]
    for body in bodies:
        status, answer, _ = await call(app, mine, body=json.dumps(body).encode())
        assert (status, answer["error"]["code"]) == (401, "invalid_token")
    assert engine.seen == [] and storage.requests == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(app: TokenMiddleware, engine: Engine, body: bytes) -> None:
    status, answer, _ = await call(app, base(), body=body)
    assert (status, answer["error"]["code"]) == (400, "invalid_json")
    assert engine.seen == []


async def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes(
    app: TokenMiddleware, engine: Engine
) -> None:
    token = (b"x-tunebase-token", base().token().encode())
    declared = [token, (b"content-length", str(MAX_BODY_BYTES + 1).encode())]
    for answer in (
        await call(app, base(), body=b"{}", headers=declared),
        await call(app, base(), body=b" " * (MAX_BODY_BYTES + 1), headers=[token]),
    ):
        assert (answer[0], answer[1]["error"]["code"]) == (413, "request_too_large")
    assert engine.seen == []


async def test_an_adapter_that_cannot_be_had_is_a_424(
    app: TokenMiddleware, engine: Engine, storage: FileServer
) -> None:
    stored = store(storage)
    storage.files[f"{stored.name}/adapter_model.safetensors"] = b"Weights"
    for path in ("/v1/completions", "/v1/warm"):
        status, answer, _ = await call(app, stored, path)
        assert (status, answer["error"]["code"]) == (424, "adapter_corrupt")
    assert engine.seen == []


async def test_warm_loads_the_model_by_generating_one_token(
    app: TokenMiddleware, engine: Engine, storage: FileServer
) -> None:
    stored = store(storage)
    assert (await call(app, stored, "/v1/warm", body=b""))[:2] == (200, {"status": "ready"})
    seen = engine.seen[0]
    assert (seen["path"], seen["claims"]) == ("/v1/completions", stored.name)
    assert json.loads(seen["body"]) == {"model": stored.name, "prompt": "\n", "max_tokens": 1, "cache_salt": "salt-1"}
    engine.status = 503
    assert (await call(app, stored, "/v1/warm", body=b""))[:2] == (503, {"a": 1})


async def test_an_adapter_in_use_is_not_evicted(engine: Engine, storage: FileServer, settings: Settings) -> None:
    one, two = store(storage, b"1" * 600_000), store(storage, b"2" * 600_000)
    app = TokenMiddleware(engine, replace(settings, cache_bytes=10**6))
    reached, release = asyncio.Event(), asyncio.Event()

    async def during() -> None:
        reached.set()
        await release.wait()

    engine.during = during
    first = asyncio.create_task(call(app, one))
    await reached.wait()
    engine.during = None
    status, answer, _ = await call(app, two)
    assert (status, answer["error"]["code"]) == (503, "adapter_cache_full")
    release.set()
    assert (await first)[0] == 200
    assert (await call(app, two))[0] == 200


async def test_the_engine_notices_that_the_client_has_gone(app: TokenMiddleware) -> None:
    noticed = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        noticed.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app._app = waiting
    await call(app, base())
    assert noticed == ["http.disconnect"]
