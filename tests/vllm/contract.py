"""The inference worker's contract, against real vLLM: run by `deno task test:vllm`.

Trains nothing: two LoRA adapters with seeded random weights, large enough to change every answer. Each is served
through the worker's own middleware and resolver, from a small file server, and compared with plain transformers.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from random_adapter import write_adapter

SECRET = "contract-contract-contract-contract"
ENDPOINT = "contract"
REVISION = "1"
SALT = {"a": "salt-of-project-a", "b": "salt-of-project-b"}
PROMPTS = [
    "The capital of France is",
    "Write a haiku about the sea.",
    "def fibonacci(n):",
    "Why is the sky blue?",
    "List three fruits.",
    "Translate to German: good morning",
]
TOKENS = 8


@dataclass(frozen=True)
class Model:
    """A model's opaque name, its claims, and the answers of plain transformers."""

    name: str
    adapter: dict[str, Any] | None
    directory: Path | None


class Worker:
    """A vLLM process with the worker's plugin."""

    def __init__(self, options: argparse.Namespace, work: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = work / "vllm.log"
        self.adapters = work / "adapters"
        self._options = options
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        environment = {
            **os.environ,
            "TUNEBASE_INFERENCE_SECRET": SECRET,
            "TUNEBASE_ENDPOINT_ID": ENDPOINT,
            "TUNEBASE_BASE_MODEL": "org/base",
            "TUNEBASE_BASE_REVISION": REVISION,
            "TUNEBASE_BASE_PATH": str(self._options.base),
            "TUNEBASE_ADAPTER_DIR": str(self.adapters),
            "TUNEBASE_ALLOW_LOOPBACK": "1",
            "TUNEBASE_MAX_LORA_RANK": "16",
            "TUNEBASE_MAX_LORAS": str(self._options.max_loras),
            "TUNEBASE_MAX_CPU_LORAS": "4",
            "TUNEBASE_MAX_LENGTH": "2048",
            "TUNEBASE_VLLM_ARGS": f"--dtype {self._options.dtype} --enforce-eager --max-num-seqs 8",
            "PORT": str(self._port),
            "PORT_HEALTH": str(free_port()),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # OpenMP threads that wait for each other spin, so one thread is faster than two on a busy machine.
            "OMP_NUM_THREADS": str(self._options.threads),
            "KMP_BLOCKTIME": "0",
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{self._options.vllm.parent}:{os.environ['PATH']}",
        }
        with self.log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(str(self._options.vllm.parent / "python"), "-m", "tunebase_inference"),
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    async def ready(self, session: aiohttp.ClientSession) -> None:
        while True:
            if self._process is not None and self._process.returncode is not None:
                raise SystemExit(f"vLLM did not start:\n{self.log.read_text()[-5000:]}")
            try:
                async with session.get(f"{self.url}/ping") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # it does not listen yet
            await asyncio.sleep(1)

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 40)
        except TimeoutError:
            pass  # killed below
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended


class Client:
    """Does what the API does: sends a token with each request, and the opaque name."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    def headers(
        self, model: Model, project: str = "a", secret: str = SECRET, changes: dict[str, Any] | None = None
    ) -> dict[str, str]:
        now = int(time.time())
        claims = {
            **{"iss": "tunebase", "aud": ENDPOINT, "iat": now, "exp": now + 360, "jti": str(uuid.uuid4())},
            "base": {"source": "org/base", "revision": REVISION},
            "model": model.name,
            "adapter": model.adapter,
            "cache_salt": SALT[project],
            **(changes or {}),
        }
        return {"x-tunebase-token": jwt.encode(claims, secret, "HS256")}

    def body(self, model: Model, prompt: str, project: str = "a", **fields: Any) -> dict[str, Any]:
        return {
            "model": model.name,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": TOKENS,
            "cache_salt": SALT[project],
            **fields,
        }

    async def post(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}{path}", json=body, headers=headers) as response:
            text = await response.text()
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, text

    async def chat(self, model: Model, prompt: str, project: str = "a", **fields: Any) -> tuple[int, Any]:
        body = self.body(model, prompt, project, **fields)
        return await self.post("/v1/chat/completions", body, self.headers(model, project))

    async def answer(self, model: Model, prompt: str, project: str = "a") -> str:
        status, body = await self.chat(model, prompt, project)
        check(status == 200, f"{status} {body}")
        return str(body["choices"][0]["message"]["content"])


def check(condition: bool, message: object = "") -> None:
    if not condition:
        raise AssertionError(message)


def error_code(answer: tuple[int, Any]) -> tuple[int, Any]:
    status, body = answer
    return status, body["error"]["code"] if isinstance(body, dict) and "error" in body else body


# --- adapters, and the reference answers of plain transformers


def describe(directory: Path, url: str) -> Model:
    """Its immutable name and the claims of its tokens."""
    files = []
    for path in sorted(directory.iterdir()):
        if path.name == "adapter_config.json" or path.suffix == ".safetensors":
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            address = f"{url}/{directory.name}/{path.name}"
            files.append({"path": path.name, "url": address, "bytes": len(data), "sha256": digest})
    lines = "".join(sorted(f"{file['path']}:{file['sha256']}\n" for file in files))
    content = hashlib.sha256(lines.encode()).hexdigest()[:16]
    name = f"tb-{uuid.uuid5(uuid.NAMESPACE_URL, directory.name).hex}-{content}"
    total = sum(int(str(file["bytes"])) for file in files)
    return Model(name, {"rank": 8, "bytes": total, "files": files}, directory)


class Reference:
    """Plain transformers and PEFT, in fp32."""

    def __init__(self, base: Path) -> None:
        import torch
        import transformers

        self._torch = torch
        self._base = base
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base)
        self._models: dict[str, Any] = {}

    def model(self, of: Model) -> Any:
        import peft
        import transformers

        if of.name not in self._models:
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(self._base, dtype=self._torch.float32)
            if of.directory is not None:
                loaded = peft.PeftModel.from_pretrained(loaded, str(of.directory))
            self._models[of.name] = loaded.eval()
        return self._models[of.name]

    def logprobs(self, of: Model, prompt: str, answer: list[str]) -> list[float]:
        """The logprob of each token of `answer`, given the ones before it."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        target = [self.token_id(token) for token in answer]
        with self._torch.inference_mode():
            logits = self.model(of)(input_ids=self._torch.tensor([ids + target])).logits[0].float()
        scores = logits[len(ids) - 1 : -1].log_softmax(-1)
        return [float(scores[i, token]) for i, token in enumerate(target)]

    def token_id(self, token: str) -> int:
        # return_tokens_as_token_ids: texts of single tokens are not always unique.
        return int(token.removeprefix("token_id:"))


# --- the contract


class Contract:
    def __init__(
        self, client: Client, files: Path, models: dict[str, Model], reference: Reference, worker: Worker
    ) -> None:
        self.client = client
        self.files = files
        self.base, self.one, self.two = models["base"], models["one"], models["two"]
        self.reference = reference
        self.worker = worker

    async def serves_an_adapter_by_name_through_the_resolver(self) -> str:
        texts = [await self.client.answer(model, PROMPTS[0]) for model in (self.base, self.one, self.two)]
        check(len(set(texts)) == 3, f"the adapters do not change the answer: {texts}")
        check((self.worker.adapters / self.one.name / "adapter_config.json").is_file())
        return " | ".join(text.replace("\n", " ")[:30] for text in texts)

    async def logprobs_agree_with_plain_transformers(self) -> str:
        worst: dict[str, float] = {}
        for label, model in (("base", self.base), ("one", self.one), ("two", self.two)):
            for prompt in PROMPTS:
                extra: dict[str, Any] = {"logprobs": True, "top_logprobs": 0, "return_tokens_as_token_ids": True}
                status, body = await self.client.chat(model, prompt, **extra)
                check(status == 200, body)
                content = body["choices"][0]["logprobs"]["content"]
                tokens = [entry["token"] for entry in content]
                expected = await asyncio.to_thread(self.reference.logprobs, model, prompt, tokens)
                got = [entry["logprob"] for entry in content]
                deltas = [abs(a - b) for a, b in zip(got, expected, strict=True)]
                worst[label] = max(worst.get(label, 0.0), *deltas)
        check(max(worst.values()) < 2e-3, worst)
        return ", ".join(f"{label} {delta:.1e}" for label, delta in worst.items())

    async def base_and_two_adapters_in_flight_at_once_never_mix(self) -> str:
        """300 interleaved requests, each compared with its model's answer alone."""
        models = (self.base, self.one, self.two)
        alone = {
            (model.name, prompt): await self.client.answer(model, prompt) for model in models for prompt in PROMPTS
        }
        distinct = len({alone[model.name, PROMPTS[0]] for model in models})
        check(distinct == 3)
        requests = [(models[i % 3], PROMPTS[i % len(PROMPTS)]) for i in range(300)]
        gate = asyncio.Semaphore(24)

        async def one(index: int, model: Model, prompt: str) -> str | None:
            async with gate:
                text = await self.client.answer(model, prompt, "ab"[index % 2])
            if text == alone[model.name, prompt]:
                return None
            others = [other for other in models if other is not model and text == alone[other.name, prompt]]
            return "another model's answer" if others else f"{model.name[:8]} {prompt!r}: {text!r}"

        wrong = [problem for problem in await asyncio.gather(*(one(i, *r) for i, r in enumerate(requests))) if problem]
        check(wrong == [], f"{len(wrong)} of 300 are wrong: {wrong[:3]}")
        return "300 of 300 right"

    async def a_wrong_or_missing_token_is_refused(self) -> str:
        body = self.client.body(self.base, PROMPTS[0])
        path = "/v1/chat/completions"
        for headers in (
            {},
            {"x-tunebase-token": "x"},
            self.client.headers(self.base, secret=SECRET[::-1] + "1"),
            self.client.headers(self.base, changes={"aud": "other"}),
            self.client.headers(self.base, changes={"exp": int(time.time()) - 100, "iat": int(time.time()) - 300}),
        ):
            check(error_code(await self.client.post(path, body, headers)) == (401, "invalid_token"))
        return ""

    async def another_projects_adapter_is_refused_with_a_token_for_ones_own(self) -> str:
        await self.client.answer(self.two, PROMPTS[0])  # it is loaded
        body = self.client.body(self.two, PROMPTS[0])
        path = "/v1/chat/completions"
        for headers in (
            self.client.headers(self.one),
            self.client.headers(self.base),
            self.client.headers(self.two, "b"),
        ):
            check(error_code(await self.client.post(path, body, headers)) == (401, "invalid_token"))
        renamed = self.client.headers(self.one, changes={"model": self.two.name})
        check(error_code(await self.client.post(path, body, renamed)) == (401, "invalid_token"))
        return ""

    async def no_other_route_is_reachable(self) -> str:
        headers = self.client.headers(self.base)
        for method, path in (
            *(("GET", path) for path in ("/v1/models", "/metrics", "/health", "/version", "/docs", "/openapi.json")),
            *(("POST", path) for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/tokenize")),
            *(("POST", path) for path in ("/v1/responses", "/v1/embeddings", "/invocations", "/v1/messages")),
        ):
            async with self.client.session.request(method, f"{self.client.url}{path}", headers=headers, json={}) as got:
                check(got.status == 404, f"{method} {path}: {got.status}")
                check((await got.json())["error"]["code"] == "not_found", path)
        return ""

    async def a_model_that_the_token_does_not_name_is_refused(self) -> str:
        """No unknown name reaches vLLM, because the API returns 404 first. Another id with equal files is another
        model."""
        status, body = await self.client.post(
            "/v1/chat/completions",
            self.client.body(Model("tb-nobody", None, None), PROMPTS[0]),
            self.client.headers(self.base),
        )
        check((status, body["error"]["code"]) == (401, "invalid_token"), body)
        fresh = Model("tb-" + "0" * 32 + "-" + self.one.name[-16:], self.one.adapter, None)
        check((await self.client.chat(fresh, PROMPTS[0]))[0] == 200)
        return ""

    async def a_tampered_file_is_refused_and_leaves_nothing_behind(self) -> str:
        model = await self.copied("tampered")
        weights = self.files / "tampered/adapter_model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        before = sorted(self.worker.adapters.iterdir())
        check(error_code(await self.client.chat(model, PROMPTS[0])) == (424, "adapter_corrupt"))
        check(sorted(self.worker.adapters.iterdir()) == before)
        data[-1] ^= 1
        weights.write_bytes(data)
        check(await self.client.answer(model, PROMPTS[0]) == await self.client.answer(self.one, PROMPTS[0]))
        return ""

    async def a_missing_file_is_unavailable(self) -> str:
        model = await self.copied("missing")
        (self.files / "missing/adapter_model.safetensors").unlink()
        check(error_code(await self.client.chat(model, PROMPTS[0])) == (424, "adapter_unavailable"))
        return ""

    async def another_base_or_revision_is_refused(self) -> str:
        path, body = "/v1/chat/completions", self.client.body(self.one, PROMPTS[0])
        for base in ({"source": "org/base", "revision": "2"}, {"source": "org/other", "revision": REVISION}):
            answer = await self.client.post(path, body, self.client.headers(self.one, changes={"base": base}))
            check(error_code(answer) == (424, "base_model_mismatch"), answer)
        return ""

    async def a_retrained_model_has_a_new_name_and_its_own_answers(self) -> str:
        """The same adapter id, other weights: the old name still gives the old answer, from vLLM's prefix cache too."""
        old = await self.copied("retrained")
        first = await self.client.answer(old, PROMPTS[0])
        shutil.copytree(self.two.directory or Path(), self.files / "retrained", dirs_exist_ok=True)
        new = describe(self.files / "retrained", self.url())
        check(new.name != old.name and new.name[:35] == old.name[:35])
        check(await self.client.answer(new, PROMPTS[0]) == await self.client.answer(self.two, PROMPTS[0]))
        check(await self.client.answer(old, PROMPTS[0]) == first)
        # The old name with the new files: such a token is not valid, though it is signed.
        answer = await self.client.chat(Model(old.name, new.adapter, None), PROMPTS[0])
        check(error_code(answer) == (401, "invalid_token"), answer)
        return ""

    async def a_deleted_model_answers_nothing_without_a_token(self) -> str:
        """The API deletes a model by no longer issuing tokens. A model that is still loaded here cannot be reached."""
        await self.client.answer(self.one, PROMPTS[0])
        body = self.client.body(self.one, PROMPTS[0])
        check(error_code(await self.client.post("/v1/chat/completions", body, {})) == (401, "invalid_token"))
        return ""

    async def warm_loads_an_adapter(self) -> str:
        model = await self.copied("warm")
        answer = await self.client.post("/v1/warm", None, self.client.headers(model))
        check(answer == (200, {"status": "ready"}), answer)
        check((self.worker.adapters / model.name).is_dir())
        return ""

    async def a_context_that_is_too_long_names_the_limit(self) -> str:
        status, body = await self.client.chat(self.base, "word " * 3000)
        check(status == 400 and "2048" in body["error"]["message"], body)
        return str(body["error"]["message"])[:90]

    async def a_stream_ends_with_usage_and_done(self) -> str:
        body = self.client.body(self.one, PROMPTS[1], stream=True, stream_options={"include_usage": True})
        events = await self.stream(body, self.client.headers(self.one))
        check(events[-1] == "[DONE]")
        chunks = [json.loads(event) for event in events[:-1]]
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        check(text == await self.client.answer(self.one, PROMPTS[1]), text)
        check(chunks[-1]["usage"]["completion_tokens"] == TOKENS, chunks[-1])
        check({chunk["model"] for chunk in chunks} == {self.one.name})
        return f"{len(chunks)} chunks"

    async def a_stream_ends_when_its_client_has_gone(self) -> str:
        """Eight sequences run at once, so another request is served soon only if the cancelled ones end."""
        body = self.client.body(self.one, PROMPTS[1], stream=True, max_tokens=1900, ignore_eos=True)

        async def open_and_leave() -> None:
            headers = self.client.headers(self.one)
            async with self.client.session.post(
                f"{self.client.url}/v1/chat/completions", json=body, headers=headers
            ) as got:
                async for _ in got.content:
                    return got.close()

        await asyncio.gather(*(open_and_leave() for _ in range(8)))
        started = time.monotonic()
        await self.client.answer(self.base, PROMPTS[0])
        seconds = time.monotonic() - started
        check(seconds < 20, f"{seconds:.1f} s: the cancelled streams still run")
        return f"the next answer took {seconds:.1f} s"

    # --- support

    def url(self) -> str:
        assert self.one.adapter is not None
        return str(self.one.adapter["files"][0]["url"]).rsplit("/", 2)[0]

    async def copied(self, name: str) -> Model:
        shutil.copytree(self.one.directory or Path(), self.files / name, dirs_exist_ok=True)
        return describe(self.files / name, self.url())

    async def stream(self, body: dict[str, Any], headers: dict[str, str]) -> list[str]:
        async with self.client.session.post(
            f"{self.client.url}/v1/chat/completions", json=body, headers=headers
        ) as response:
            check(response.status == 200, response.status)
            lines = (await response.text()).split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def tests_of(contract: Contract) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    support = {"url", "copied", "stream"}
    names = [name for name in vars(Contract) if not name.startswith("_") and name not in support]
    return [(name, getattr(contract, name)) for name in names]


async def run(options: argparse.Namespace) -> int:
    work = Path(tempfile.mkdtemp(prefix="tunebase-vllm-"))
    files = work / "files"
    files.mkdir()
    port = free_port()
    app = web.Application()
    app.router.add_static("/", files)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    worker = Worker(options, work, free_port())
    started = time.monotonic()
    print(f"starting vLLM (log: {worker.log})")
    await worker.start()
    try:
        models = {"base": Model("base", None, None)}
        for seed, name in enumerate(("one", "two"), 1):
            await asyncio.to_thread(write_adapter, options.base, files / name, seed)
            models[name] = describe(files / name, f"http://127.0.0.1:{port}")
        reference = Reference(options.base)
        # A connection for each request: vLLM closes idle ones while the reference computes.
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await worker.ready(session)
            print(f"vLLM is ready after {time.monotonic() - started:.0f} s")
            contract = Contract(Client(session, worker.url), files, models, reference, worker)
            failed = 0
            tests = [(name, test) for name, test in tests_of(contract) if options.only in name]
            for name, test in tests:
                begin = time.monotonic()
                try:
                    note, mark = await test(), "ok    "
                except (AssertionError, KeyError, TypeError, aiohttp.ClientError, TimeoutError) as error:
                    note, mark = f"{type(error).__name__} {error}", "FAILED"
                    failed += 1
                seconds = time.monotonic() - begin
                print(f"{mark} {name.replace('_', ' ')} ({seconds:.1f} s){': ' if note else ''}{note}")
            print(f"\n{len(tests) - failed} passed, {failed} failed")
            if failed:
                print(f"vLLM's log: {worker.log}")
            return min(failed, 1)
    finally:
        await worker.stop()
        await runner.cleanup()
        if not options.keep:
            shutil.rmtree(work / "files", ignore_errors=True)
            shutil.rmtree(work / "adapters", ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, required=True, help="the `vllm` program")
    parser.add_argument("--base", type=Path, required=True, help="the base model's directory")
    parser.add_argument("--max-loras", type=int, default=2, help="adapters in one batch; a spare slot is added")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the engine (default: all cores)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", default="", help="run the tests with this text in their name")
    parser.add_argument("--keep", action="store_true", help="keep the files")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
