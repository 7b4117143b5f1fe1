"""Tunebase as the worker sees it, in this process: signed callbacks, resumable uploads, files to fetch.

It checks every signature with the standardwebhooks library and every body against protocol.schema.json, and remembers
what arrived in order. A call with a `webhook-id` seen before is answered as it was, and counts once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, Self

import jsonschema
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from .paths import TRAINER

SCHEMAS = json.loads((TRAINER / "protocol.schema.json").read_text())["$defs"]
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
LOST = 0
"""As a trouble: the call is done, and its answer gets lost."""


class FakeTunebase:
    """`async with FakeTunebase() as tunebase:`; configure its replies, then check what it received."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """What can be fetched at `{url}/files/{name}`."""
        self.claim: dict[str, Any] = {}
        """Changes of the claim's reply."""
        self.directive: str = "continue"
        self.directives: Callable[[str, dict[str, Any]], str | None] = lambda name, body: None
        """A directive for one call, by its name and body; None: `directive`."""
        self.troubles: list[int] = []
        """Statuses of the next callbacks, whatever they are; LOST."""
        self.away: Callable[[str], bool] = lambda name: False
        """Callbacks that are answered 503, by name."""
        self.storage_status: int | None = None
        """What Storage answers to every upload instead of taking it."""
        self.damaged: set[str] = set()
        """Paths whose next upload arrives damaged."""
        self.arrivals: list[tuple[str, str]] = []
        """(name, webhook-id) of every callback that was signed rightly."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """(name, body) of every callback that was answered, each once."""
        self.runpod: list[dict[str, Any]] = []
        """The updates sent to RunPod, as it received them; see `runpod_url`."""
        self.runpod_delays: list[float] = []
        """How long RunPod takes for the next of them, in seconds."""
        self.runpod_busy = self.runpod_most = 0
        """How many it is handling now, and the most it handled concurrently."""
        self.stored: dict[str, bytes] = {}
        """Uploaded files by path, in the order in which they were whole."""
        self.verified: list[str] = []
        self.wrong: list[str] = []
        """What it should never have got: bad signatures, bodies that do not fit the protocol."""
        self._answers: dict[str, dict[str, Any]] = {}
        self._uploads: list[tuple[str, int, bytearray]] = []

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/callback/{name}", self._callback)
        app.router.add_get("/files/{name:.+}", self._file)
        app.router.add_post("/runpod/{id}", self._progress)
        app.router.add_post("/tus", self._begin_upload)
        app.router.add_route("HEAD", "/tus/{number}", self._upload_offset)
        app.router.add_patch("/tus/{number}", self._upload_chunk)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.callback_url = f"{self.url}/callback"
        self.runpod_url = f"{self.url}/runpod/$ID?gpu=none"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        assert not self.wrong, self.wrong

    # --- what a test asks for

    def serve(self, name: str, data: bytes) -> str:
        """Makes `data` fetchable; returns its address."""
        self.files[name] = data
        return f"{self.url}/files/{name}"

    def of(self, name: str) -> list[dict[str, Any]]:
        """Bodies of the calls of one name, in order."""
        return [body for called, body in self.calls if called == name]

    def reported(self, what: str) -> list[dict[str, Any]]:
        """All `metrics`, `events` or `checkpoints` of the reports, in order."""
        return [item for body in self.of("report") for item in body[what]]

    def resume_of(self, step: int) -> dict[str, Any]:
        """What a claim says of a checkpoint that was uploaded here."""
        files = [
            {**describe(path, data), "url": self.serve(path, data)}
            for path, data in self.stored.items()
            if path.startswith(f"checkpoints/{step}/")
        ]
        return {"step": step, "files": files}

    # --- the callbacks

    async def _callback(self, request: web.Request) -> web.StreamResponse:
        name, text = request.match_info["name"], await request.text()
        try:
            body = Webhook(SECRET).verify(text, {key.lower(): value for key, value in request.headers.items()})
        except WebhookVerificationError as error:
            return web.Response(status=401, text=str(error))
        message_id = request.headers["webhook-id"]
        self.arrivals.append((name, message_id))
        if self.away(name):
            return web.Response(status=503, text="away")
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble not in (None, LOST):
            return web.Response(status=trouble, text="trouble")
        if message_id not in self._answers:
            problem = jsonschema.Draft202012Validator(SCHEMAS[f"{name.capitalize()}Request"]).iter_errors(body)
            self.wrong += [f"{name}: {error.message[:200]}" for error in problem]
            self.calls.append((name, body))
            directive = self.directives(name, body) or self.directive
            self._answers[message_id] = {
                "claim": self._claim,
                "report": self._report,
                "uploads": self._targets,
                "verify": self._verify,
                "finish": self._finish,
            }[name](directive, body)
        if trouble == LOST:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(self._answers[message_id])

    def _claim(self, directive: str, body: dict[str, Any]) -> dict[str, Any]:
        data = self.files["rows.jsonl"]
        usual = {
            "claimed": True,
            "fence": 1,
            "lease_seconds": 60,
            "report_seconds": 15,
            "dataset_url": f"{self.url}/files/rows.jsonl",
            "dataset_sha256": hashlib.sha256(data).hexdigest(),
            "validation_url": None,
            "validation_sha256": None,
            "resume": None,
            "checkpoint_seconds": 3600,
        }
        return self.claim if self.claim.get("claimed") is False else usual | self.claim

    def _report(self, directive: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"directive": directive, "lease_until": None if directive == "stop" else 2_000_000_000}

    def _targets(self, directive: str, body: dict[str, Any]) -> dict[str, Any]:
        if directive == "stop":
            return {"directive": directive, "targets": []}
        targets = [
            {
                "path": path,
                "endpoint": f"{self.url}/tus",
                "bucket": "tunebase-adapters",
                "object": f"incoming/{path}",
                "token": f"token of {path}",
                "content_type": "application/octet-stream",
                "chunk_bytes": 2**16,
            }
            for path in body["paths"]
        ]
        return {"directive": directive, "targets": targets}

    def _verify(self, directive: str, body: dict[str, Any]) -> dict[str, Any]:
        file = body["file"]
        right = describe(file["path"], self.stored.get(file["path"], b"")) == file
        if right:
            self.verified.append(file["path"])
        return {"directive": directive, "verified": right, "detail": None if right else "it differs from the manifest"}

    def _finish(self, directive: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"accepted": True, "detail": None}

    # --- RunPod

    async def _progress(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        self.runpod_busy += 1
        self.runpod_most = max(self.runpod_most, self.runpod_busy)
        await asyncio.sleep(self.runpod_delays.pop(0) if self.runpod_delays else 0)
        self.runpod_busy -= 1
        self.runpod.append(body)
        return web.Response()

    # --- Storage

    async def _file(self, request: web.Request) -> web.Response:
        data = self.files.get(request.match_info["name"])
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _begin_upload(self, request: web.Request) -> web.Response:
        if self.storage_status is not None:
            return web.Response(status=self.storage_status)
        pairs = (pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
        path = {name: base64.b64decode(value).decode() for name, value in pairs}["objectName"].removeprefix("incoming/")
        if request.headers.get("x-signature") != f"token of {path}":
            self.wrong.append(f"upload of {path}: wrong token")
        self._uploads.append((path, int(request.headers["upload-length"]), bytearray()))
        place = f"{self.url}/tus/{len(self._uploads) - 1}"
        return web.Response(status=201, headers={"location": place, "tus-resumable": "1.0.0"})

    async def _upload_offset(self, request: web.Request) -> web.Response:
        _, _, data = self._uploads[int(request.match_info["number"])]
        return web.Response(headers={"upload-offset": str(len(data)), "tus-resumable": "1.0.0"})

    async def _upload_chunk(self, request: web.Request) -> web.Response:
        path, length, data = self._uploads[int(request.match_info["number"])]
        if self.storage_status is not None:
            return web.Response(status=self.storage_status)
        if int(request.headers["upload-offset"]) != len(data):
            return web.Response(status=409)
        data += await request.read()
        if len(data) == length:
            self.stored.pop(path, None)
            self.stored[path] = b"damaged" if path in self.damaged else bytes(data)
            self.damaged.discard(path)
        return web.Response(status=204, headers={"upload-offset": str(len(data)), "tus-resumable": "1.0.0"})


def describe(path: str, data: bytes) -> dict[str, Any]:
    """An ArtifactFile."""
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def run_input(tunebase: FakeTunebase, base_model: str, **hyperparameters: Any) -> dict[str, Any]:
    """RunPod's `input` for an attempt that reports to `tunebase`."""
    return {
        "job_id": "01234567-89ab-7def-8123-456789abcdef",
        "attempt": 1,
        "dataset_url": f"{tunebase.url}/files/rows.jsonl",
        "hyperparameters": {
            "base_model": base_model,
            "learning_rate": 1e-3,
            "batch_size": 4,
            "num_epochs": 2,
            "lora_rank": 4,
            "lora_alpha": 8,
            "lora_dropout": 0.05,
            "max_length": 256,
            "seed": 7,
            **hyperparameters,
        },
        "gpu_config": {"gpu_type": "CPU", "num_gpus": 1, "gpu_memory_gb": 0, "cost_per_gpu_hour": 0},
        "callback_url": tunebase.callback_url,
        "callback_secret": SECRET,
    }
