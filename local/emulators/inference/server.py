"""Emulates the inference worker: vLLM's OpenAI-compatible server on transformers and PEFT, without a GPU.

The token checks, the downloads and the middleware are those of `inference/`, unchanged. Imitated:
`/v1/chat/completions` and `/v1/completions` with streaming, usage chunks, `n`, `stop`, `seed`, logprobs, sampling
parameters, `tools` in the chat template, vLLM's errors and their texts, and cancellation when the client leaves.
`/ping` is 204 while the model loads: heavy imports happen in the engine's thread.

Differs from vLLM: no batching on the hardware (sequences take turns), no prefix cache, so `cache_salt` changes nothing;
`response_format` other than text is refused, as there is no constrained decoding; answers are never parsed into
`tool_calls`; text prompts only; a prompt that is a list must have one entry.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tunebase_inference.middleware import TokenMiddleware, adapter_cache, current_claims
from tunebase_inference.settings import Settings
from tunebase_inference.token import BASE_NAME

from completions import ApiError, Completion, parse_chat, parse_completion
from engine import Engine
from responses import ChatFormat, CompletionFormat, Format


class Server:
    """Creates the application. The caller calls `engine.start`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        routes = [
            Route("/health", self._health),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._completion, methods=["POST"]),
        ]
        self.app = TokenMiddleware(Starlette(routes=routes), settings)

    async def _health(self, _: Request) -> Response:
        return Response(status_code=self._engine.status)

    async def _chat(self, request: Request) -> Response:
        return await self._answer(request, parse_chat, ChatFormat)

    async def _completion(self, request: Request) -> Response:
        return await self._answer(request, parse_completion, CompletionFormat)

    async def _answer(
        self, request: Request, parse: Callable[[Any, Engine], Completion], form: Callable[..., Format]
    ) -> Response:
        try:
            await asyncio.to_thread(self._engine.ready.wait)
            if self._engine.status != 200:
                raise ApiError(503, "The engine is dead.", "ServiceUnavailableError")
            body = await request.json()
            adapter = self._resolve(body.get("model"))
            completion = await asyncio.to_thread(parse, body, self._engine)
        except ApiError as error:
            return JSONResponse(error.body(), error.status)
        answer = form(completion, self._engine.tokenizer)
        if completion.stream:
            return StreamingResponse(self._stream(completion, answer, adapter), media_type="text/event-stream")
        return await _until_disconnect(request, self._whole(completion, answer, adapter))

    def _resolve(self, model: Any) -> tuple[str, Path] | None:
        """Resolves a model in vLLM's order: the served name, then the resolver, which needs a token for exactly this
        name."""
        if model == BASE_NAME:
            return None
        claims = current_claims.get()
        if claims is None or claims.adapter is None or claims.model != model:
            message = f"The model `{model}` does not exist. Valid aliases: {BASE_NAME}."
            raise ApiError(404, message, "NotFoundError", "model")
        return claims.model, adapter_cache(self._settings).path(claims.model)

    async def _whole(self, completion: Completion, form: Format, adapter: tuple[str, Path] | None) -> Response:
        async def collect(index: int) -> None:
            async with aclosing(self._engine.generate(completion.prompt, completion.options(index), adapter)) as steps:
                async for step in steps:
                    form.add(index, step)

        try:
            async with asyncio.TaskGroup() as group:
                for index in range(completion.n):
                    group.create_task(collect(index))
        except ExceptionGroup:
            return JSONResponse(ApiError(500, "The engine failed.", "InternalServerError").body(), 500)
        return JSONResponse(form.whole())

    async def _stream(
        self, completion: Completion, form: Format, adapter: tuple[str, Path] | None
    ) -> AsyncIterator[str]:
        """Server-sent events. Ends the sequences when the client leaves: Starlette then closes this iterator."""
        events: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue()

        async def produce(index: int) -> None:
            try:
                async with aclosing(
                    self._engine.generate(completion.prompt, completion.options(index), adapter)
                ) as steps:
                    async for step in steps:
                        events.put_nowait(form.chunks(index, step))
            except Exception:
                events.put_nowait([ApiError(500, "The engine failed.", "InternalServerError").body()])
            finally:
                events.put_nowait(None)

        producers = [asyncio.create_task(produce(index)) for index in range(completion.n)]
        try:
            for chunk in form.first():
                yield _event(chunk)
            open_ = completion.n
            while open_ > 0:
                chunks = await events.get()
                open_ -= chunks is None
                for chunk in chunks or []:
                    yield _event(chunk)
            if completion.include_usage:
                yield _event(form.usage_chunk())
            yield "data: [DONE]\n\n"
        finally:
            for producer in producers:
                producer.cancel()


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _until_disconnect(request: Request, work: Awaitable[Response]) -> Response:
    """The response, or an empty one as soon as the client disconnects."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else Response(status_code=499)
    finally:
        working.cancel()
        leaving.cancel()


def _base_directory(settings: Settings) -> Path:
    """Finds the base model like the trainer. The demo's model is converted on first use."""
    from tunebase_trainer.model.base_model import resolve

    base = resolve(settings.base_model, settings.base_revision)
    return base.fetch_weights(logging.getLogger("tunebase.inference").info)


def main() -> None:
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    settings = Settings.from_environment()
    length = os.environ.get("TUNEBASE_MAX_LENGTH")
    adapters = int(os.environ.get("TUNEBASE_MAX_LORAS") or 8)
    engine = Engine(lambda: _base_directory(settings), int(length) if length else None, adapters)
    engine.start()
    app = Server(engine, settings).app
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", h11_max_incomplete_event_size=2**22
    )


if __name__ == "__main__":
    main()
