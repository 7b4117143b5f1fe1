"""ASGI middleware in front of vLLM (`--middleware tunebase_inference.middleware.TokenMiddleware`).

Forwards two routes, each with a token for exactly the model that the body requests, and handles two itself:
`POST /v1/warm` and `GET /ping`. The rest of vLLM's API is not reachable. Responses are forwarded unchanged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

from .adapter_cache import AdapterCache
from .errors import RequestError, invalid_token
from .settings import Settings, settings
from .token import Claims, verify

log = logging.getLogger("tunebase.inference")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = b"x-tunebase-token"
MAX_BODY_BYTES = 30 * 10**6
GENERATE = ("/v1/chat/completions", "/v1/completions")
WARM = "/v1/warm"

# The claims of the current request. The resolver reads them in the same task, or in a child task.
current_claims: ContextVar[Claims | None] = ContextVar("current_claims", default=None)
_caches: dict[Settings, AdapterCache] = {}


def adapter_cache(for_settings: Settings | None = None) -> AdapterCache:
    """This process's cache, which the middleware fills and the resolver reads."""
    key = for_settings or settings()
    if key not in _caches:
        _caches[key] = AdapterCache(key)
    return _caches[key]


class TokenMiddleware:
    def __init__(self, app: App, settings_: Settings | None = None) -> None:
        self._app = app
        self._settings = settings_ or settings()
        self._cache = adapter_cache(self._settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["path"] == "/ping" and scope["method"] in ("GET", "HEAD"):
            # vLLM's own status: 200, or 503 once its engine has died.
            return await self._app({**scope, "path": "/health", "raw_path": b"/health"}, receive, send)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._run(scope, receive, sending)
        except RequestError as error:
            log.warning("refused: %d %s", error.status, error.code)
            if started:
                raise
            await respond(send, error.status, error.body())

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in (*GENERATE, WARM):
            raise RequestError(404, "not_found", f"Not found: {scope['method']} {scope['path']}.")
        if scope["method"] != "POST":
            raise RequestError(405, "method_not_allowed", f"{scope['path']} accepts only POST.")
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        tokens = [value for name, value in headers if name.lower() == TOKEN_HEADER]
        if len(tokens) != 1:
            raise invalid_token("The request must have exactly one x-tunebase-token.")
        claims = verify(tokens[0].decode("latin-1"), self._settings.secret, self._settings.endpoint_id)
        # The token grants access to files, so it must not reach vLLM's logs.
        scope = {**scope, "headers": [header for header in headers if header[0].lower() != TOKEN_HEADER]}
        if scope["path"] == WARM:
            return await self._warm(claims, scope, send)
        body = await read_body(receive, headers)
        _check_body(body, claims)
        async with self._cache.hold(claims):
            await self._generate(claims, scope, replaying(body, receive), send)

    async def _generate(self, claims: Claims, scope: Scope, receive: Receive, send: Send) -> None:
        reset = current_claims.set(claims)
        try:
            await self._app(scope, receive, send)
        finally:
            current_claims.reset(reset)

    async def _warm(self, claims: Claims, scope: Scope, send: Send) -> None:
        """Loads the model like any request, by generating one token."""
        request = {"model": claims.model, "prompt": "\n", "max_tokens": 1, "cache_salt": claims.cache_salt}
        body = json.dumps(request).encode()
        path = "/v1/completions"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        inner = {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
        status = 500
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        async def still_connected() -> Message:
            # Loading continues after the caller disconnects, because a half-loaded model is useless.
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async with self._cache.hold(claims):
            await self._generate(claims, inner, replaying(body, still_connected), collect)
        if status == 200:
            return await respond(send, 200, b'{"status":"ready"}')
        await respond(send, status, b"".join(parts))


def _check_body(body: bytes, claims: Claims) -> None:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(request, dict):
        raise RequestError(400, "invalid_json", "The body must be a JSON object.")
    if request.get("model") != claims.model:
        raise invalid_token("The token is for another model.")
    if request.get("cache_salt") != claims.cache_salt:
        raise invalid_token("The token is for another cache_salt.")


async def read_body(receive: Receive, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Reads the whole body. Raises RequestError 413 as soon as it is too large."""
    too_large = RequestError(413, "request_too_large", f"The body exceeds {MAX_BODY_BYTES} bytes.")
    for name, value in headers:
        if name.lower() == b"content-length" and (not value.isdigit() or int(value) > MAX_BODY_BYTES):
            raise too_large
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(499, "client_closed", "The client closed the connection.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise too_large
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def replaying(body: bytes, receive: Receive) -> Receive:
    """Returns the body once, and then the server's own messages, such as a disconnect."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
