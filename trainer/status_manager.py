"""Tells Tunebase how an attempt goes: signed callbacks, in order, repeated until they arrive.

Signed as Standard Webhooks says. A retry sends the same body with the same `webhook-id` and a fresh timestamp, so the
server can tell it from a replay and from news. Replies carry orders; what to do about them is the handler's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from tunebase_trainer.errors import AttemptLost, TrainerError
from tunebase_trainer.protocol import (
    ArtifactFile,
    ClaimReply,
    FinishReply,
    LogEvent,
    Manifest,
    Metric,
    Order,
    UploadsReply,
    VerifyReply,
)

log = logging.getLogger("tunebase")

# Statuses that may be different the next time.
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class StatusManager:
    """The attempt's voice. Without `callback_url` (called directly through RunPod) it says nothing, to nobody."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        callback_url: str | None,
        secret: str | None,
        worker_id: str,
        patience: float = 300.0,
    ) -> None:
        """`patience`: seconds for which a callback is tried again before the server counts as unreachable."""
        self._session = session
        self._url = callback_url.rstrip("/") if callback_url else None
        self._webhook = Webhook(secret) if secret else None
        self._worker_id = worker_id
        self._patience = patience
        self._fence = 0
        self._sequence = 0
        self._sending = asyncio.Lock()
        self._dirty = False
        self._last_sent = time.monotonic()
        self._report_seconds = 15.0
        self._metrics: list[Metric] = []
        self._events: list[LogEvent] = []
        self._state: dict[str, Any] = {
            "stage": "setup",
            "progress": 0.0,
            "current_epoch": 0.0,
            "total_epochs": None,
            "current_step": 0,
            "total_steps": None,
            "trained_tokens": 0,
            "seconds_left": None,
        }
        self.last_metric: Metric | None = None
        self.ordered: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        """Done when the server wants this worker to end: cancel, pause or stop."""

    # --- what the handler says; it goes out with the next report

    def stage(self, name: str, progress: float) -> None:
        """A new stage; progress never falls and never passes 100."""
        self._state["stage"] = name
        self._progress(progress)
        self._dirty = True

    def step(self, event: dict[str, Any]) -> None:
        """One logged step of training, as train_lora.py tells it."""
        metric = Metric.model_validate({name: event.get(name) for name in Metric.model_fields})
        self._metrics.append(metric)
        self.last_metric = metric
        self._state |= {
            "current_epoch": metric.epoch,
            "current_step": metric.step,
            "total_steps": event["total_steps"],
            "trained_tokens": event["trained_tokens"],
            "seconds_left": event["seconds_left"],
        }
        self._progress(event["progress"])
        self._dirty = True

    def log(self, level: str, message: str) -> None:
        """A line for the job's log."""
        self._events.append(LogEvent(level=level, message=message[:2000]))  # type: ignore[arg-type]
        self._dirty = True

    def _progress(self, value: float) -> None:
        self._state["progress"] = min(100.0, max(self._state["progress"], value))

    def snapshot(self) -> dict[str, Any]:
        """What polling RunPod shows: a HandlerProgress."""
        shown = {name: self._state[name] for name in ("progress", "current_epoch", "current_step", "stage")}
        return {"status": "running", **shown, "metrics": self.last_metric.model_dump() if self.last_metric else None}

    # --- the calls

    async def claim(self, runpod_job_id: str | None) -> ClaimReply:
        """Asks for the attempt. Raises AttemptLost when it is another's or has ended."""
        reply = ClaimReply.model_validate(
            await self._call("claim", {"worker_id": self._worker_id, "runpod_job_id": runpod_job_id})
        )
        if not reply.claimed:
            raise AttemptLost(reply.detail)
        self._fence = reply.fence
        self._report_seconds = reply.report_seconds
        return reply

    async def keep_reporting(self) -> None:
        """Sends what is new about once a second, and a sign of life when nothing is. Runs until it is cancelled."""
        if self._url is None:
            return
        while True:
            await asyncio.sleep(0.5)
            quiet = time.monotonic() - self._last_sent
            if (self._dirty and quiet >= 1.0) or quiet >= self._report_seconds:
                await self.flush()

    async def flush(self) -> None:
        """Sends what is new now."""
        if self._url is None:
            return
        async with self._sending:
            self._sequence += 1
            metrics, self._metrics = self._metrics[:500], self._metrics[500:]
            events, self._events = self._events[:100], self._events[100:]
            self._dirty = bool(self._metrics or self._events)
            self._last_sent = time.monotonic()
            reply = await self._call(
                "report",
                {
                    **self._holder(),
                    "sequence": self._sequence,
                    **self._state,
                    "metrics": [metric.model_dump() for metric in metrics],
                    "events": [event.model_dump() for event in events],
                },
            )
        self._obey(reply["order"])

    async def uploads(self, files: list[ArtifactFile]) -> UploadsReply:
        """Where the files may be uploaded."""
        reply = await self._call("uploads", {**self._holder(), "files": [file.model_dump() for file in files]})
        found = UploadsReply.model_validate(reply)
        self._obey(found.order)
        return found

    async def verify(self, file: ArtifactFile) -> VerifyReply:
        """Has the server read one uploaded file back."""
        reply = VerifyReply.model_validate(await self._call("verify", {**self._holder(), "file": file.model_dump()}))
        self._obey(reply.order)
        return reply

    async def succeeded(self, manifest: Manifest) -> FinishReply:
        return await self._finish({"outcome": "succeeded", "manifest": manifest.model_dump()})

    async def failed(self, error: TrainerError) -> FinishReply:
        return await self._finish(
            {
                "outcome": "failed",
                "error_code": error.code,
                "error_message": error.message[:2000],
                "hint": error.hint[:2000],
            }
        )

    async def cancelled(self) -> FinishReply:
        return await self._finish({"outcome": "cancelled"})

    async def _finish(self, body: dict[str, Any]) -> FinishReply:
        if self._url is None:
            return FinishReply(accepted=True, detail=None)
        if self._dirty:
            await self.flush()
        return FinishReply.model_validate(await self._call("finish", {**self._holder(), **body}))

    def _holder(self) -> dict[str, Any]:
        return {"worker_id": self._worker_id, "fence": self._fence}

    def _obey(self, order: Order) -> None:
        if order != "continue" and not self.ordered.done():
            self.ordered.set_result(order)

    async def _call(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """One callback, tried until it is answered. Raises TrainerError `callback_unreachable` out of patience."""
        assert self._url is not None and self._webhook is not None
        text = json.dumps(body, allow_nan=False)
        message_id = f"msg_{uuid.uuid4().hex}"
        give_up = time.monotonic() + self._patience
        wait = 0.5
        while True:
            now = datetime.now(UTC)
            headers = {
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._webhook.sign(message_id, now, text),
            }
            try:
                async with self._session.post(
                    f"{self._url}/{name}", data=text, headers=headers, timeout=aiohttp.ClientTimeout(total=60)
                ) as response:
                    answer = await response.text()
                    if response.status == 200:
                        reply: dict[str, Any] = json.loads(answer)
                        return reply
                    problem = f"{response.status} {answer[:300]}"
                    final = response.status not in TRANSIENT
            except (aiohttp.ClientError, TimeoutError) as error:
                problem, final = type(error).__name__, False
            log.warning("callback %s: %s", name, problem)
            if final or time.monotonic() + wait > give_up:
                raise TrainerError(
                    "callback_unreachable",
                    f"The worker could not tell Tunebase how it went ({name}: {problem}).",
                    "The operator must check that the worker reaches the callback's address.",
                )
            # Jitter, so that many workers do not come back at once.
            await asyncio.sleep(wait * (0.5 + random.random()))
            wait = min(wait * 2, 30.0)
