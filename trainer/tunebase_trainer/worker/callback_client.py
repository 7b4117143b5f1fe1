"""Tells Tunebase how an attempt goes: signed callbacks, in order, repeated until they arrive.

Signed as Standard Webhooks says. A retry sends the same body with the same `webhook-id` and a fresh timestamp, so the
server can tell it from a replay and from news. Replies carry orders; what to do about them is the handler's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from standardwebhooks import Webhook

from tunebase_trainer.errors import CallbackRejected, CallbackUnreachable, LeaseLost, TrainerError
from tunebase_trainer.worker.protocol import (
    ArtifactFile,
    CheckpointReport,
    ClaimReply,
    Directive,
    FinishReply,
    LogEvent,
    Manifest,
    Metric,
    ReportReply,
    UploadsReply,
    VerifyReply,
)
from tunebase_trainer.worker.spool import Batch, Kind, Spool

log = logging.getLogger("tunebase")

# Answers below 500 that may be different the next time; 404, because a function that is being deployed is not there.
TRANSIENT = {404, 408, 425, 429}
# Orders by weight: a heavier one may follow a lighter one, never the other way round.
DIRECTIVE_PRIORITY: list[Directive] = ["continue", "pause", "cancel", "stop"]
MAX_RETRY_SECONDS = 10.0


class CallbackClient:
    """The attempt's voice. Without `callback_url` (called directly through RunPod) it says nothing, to nobody."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        callback_url: str | None,
        secret: str | None,
        worker_id: str,
        patience: float,
    ) -> None:
        """`patience`: seconds for which a call other than a report is tried again; reports are for ever."""
        self._session = session
        self._url = callback_url.rstrip("/") if callback_url else None
        self._webhook = Webhook(secret) if secret else None
        self._worker_id = worker_id
        self._patience = patience
        self._fence = 0
        self._sequence = 0
        self._sending = asyncio.Lock()
        self._unanswered: tuple[str, str, Batch] | None = None
        """The report that is on its way: its id, its text, what is in it. It is repeated as it is until it arrives."""
        self._spool: Spool | None = None
        self._dirty = False
        self._last_sent = time.monotonic()
        self._report_seconds = 15.0
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
        self._order: Directive = "continue"
        self._orders: asyncio.Queue[Directive] = asyncio.Queue()

    def begin(self, directory: Path, total_epochs: int) -> None:
        """The attempt works in `directory`, where what cannot be sent yet is kept."""
        self._state["total_epochs"] = total_epochs
        if self._url is not None:
            self._spool = Spool(directory / "spool.jsonl")

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    # --- what the handler says; it goes out with the next report

    def stage(self, name: str, progress: float) -> None:
        """A new stage; progress never falls and never passes 100."""
        self._state["stage"] = name
        self._progress(progress)
        self._dirty = True

    def resumed(self, step: int, epoch: float, trained_tokens: int) -> None:
        """Training goes on from a checkpoint."""
        self._state |= {"current_step": step, "current_epoch": epoch}
        self._trained(trained_tokens)
        self._dirty = True

    def step(self, event: dict[str, Any]) -> None:
        """One logged step of training, as train_lora.py tells it."""
        metric = Metric.model_validate({name: event.get(name) for name in Metric.model_fields})
        self._keep("metrics", metric)
        self.last_metric = metric
        self._state |= {
            "current_epoch": metric.epoch,
            "current_step": metric.step,
            "total_steps": event["total_steps"],
            "seconds_left": event["seconds_left"],
        }
        self._trained(event["trained_tokens"])
        self._progress(event["progress"])
        self._dirty = True

    def log(self, level: str, message: str) -> None:
        """A line for the job's log."""
        self._keep("events", LogEvent(level=level, message=storable(message[:2000])))  # type: ignore[arg-type]

    def checkpoint(self, checkpoint: CheckpointReport) -> None:
        """A checkpoint whose files have been verified."""
        self._keep("checkpoints", checkpoint)

    def _keep(self, kind: Kind, item: Metric | LogEvent | CheckpointReport) -> None:
        if self._spool is not None:
            self._spool.add(kind, item.model_dump())

    def _progress(self, value: float) -> None:
        self._state["progress"] = min(100.0, max(self._state["progress"], value))

    def _trained(self, tokens: int) -> None:
        # Never fewer than was said before, even when a checkpoint cannot be used and training begins anew.
        self._state["trained_tokens"] = max(self._state["trained_tokens"], tokens)

    def snapshot(self) -> dict[str, Any]:
        """What polling RunPod shows: a HandlerProgress."""
        shown = {name: self._state[name] for name in ("progress", "current_epoch", "current_step", "stage")}
        return {"status": "running", **shown, "metrics": self.last_metric.model_dump() if self.last_metric else None}

    # --- the calls

    async def claim(self, runpod_job_id: str | None) -> ClaimReply:
        """Asks for the attempt. Raises LeaseLost when it is another's or has ended."""
        reply = ClaimReply.model_validate(
            await self._call("claim", {"worker_id": self._worker_id, "runpod_job_id": runpod_job_id})
        )
        if not reply.claimed:
            raise LeaseLost(reply.detail)
        self._fence = reply.fence
        self._report_seconds = reply.report_seconds
        return reply

    async def next_directive(self) -> Directive:
        """Waits until the server wants this worker to end: pause, cancel or stop; each once, a heavier one after."""
        return await self._orders.get()

    async def report_forever(self) -> None:
        """Sends what is new about once a second, and a sign of life when nothing is. Runs until it is cancelled.

        Raises CallbackRejected when this worker's signature does not hold (401).
        """
        if self._url is None:
            await asyncio.get_running_loop().create_future()
        while True:
            await asyncio.sleep(0.25)
            quiet = time.monotonic() - self._last_sent
            if (self._news() and quiet >= 1.0) or quiet >= self._report_seconds:
                await self.report()

    def _news(self) -> bool:
        return self._dirty or self._unanswered is not None or (self._spool is not None and self._spool.waiting > 0)

    async def report(self) -> None:
        """Sends what is new, up to what a report may carry; tries for ever, always the same report."""
        async with self._sending:
            if self._unanswered is None:
                self._unanswered = self._next_report()
            message_id, text, batch = self._unanswered
            order: Directive = "continue"
            try:
                reply = ReportReply.model_validate(await self._send("report", message_id, text, math.inf))
                order = reply.order
            except CallbackRejected as refused:
                if refused.status == 401:
                    raise
                # It would be refused again, and the next one may not be: a training goes on without a line of its log.
                log.error("a report was refused and is dropped: %s", refused)
            self._unanswered = None
            self._last_sent = time.monotonic()
            if self._spool is not None:
                self._spool.mark_sent(batch)
        self._watch_directives(order)

    def _next_report(self) -> tuple[str, str, Batch]:
        self._sequence += 1
        self._dirty = False
        batch = self._spool.batch() if self._spool is not None else Batch()
        body: dict[str, Any] = {**self._holder(), "sequence": self._sequence, **self._state, **batch.items}
        return new_id(), json.dumps(body, allow_nan=False), batch

    async def uploads(self, paths: list[str], patience: float | None = None) -> UploadsReply:
        """Where the files of these names may be uploaded."""
        reply = UploadsReply.model_validate(await self._call("uploads", {**self._holder(), "paths": paths}, patience))
        self._watch_directives(reply.order)
        return reply

    async def verify(self, file: ArtifactFile, patience: float | None = None) -> VerifyReply:
        """Has the server read one uploaded file back."""
        body = {**self._holder(), "file": file.model_dump()}
        reply = VerifyReply.model_validate(await self._call("verify", body, patience))
        self._watch_directives(reply.order)
        return reply

    async def finish(self, outcome: str, patience: float | None = None, **said: Any) -> FinishReply:
        """The last call: `outcome` and what protocol.ts wants with it. What is still new goes out first.

        Raises CallbackUnreachable when nothing is answered for `patience` seconds.
        """
        if self._url is None or self._fence == 0:  # nobody to tell, or an attempt that was never ours
            return FinishReply(accepted=True, detail=None)
        patience = self._patience if patience is None else patience
        give_up = time.monotonic() + patience
        with suppress(TimeoutError):  # an end that arrives without its last metrics is better than none
            async with asyncio.timeout(patience):
                while self._news():
                    await self.report()
        left = max(2.0, give_up - time.monotonic())
        return FinishReply.model_validate(
            await self._call("finish", {**self._holder(), "outcome": outcome, **said}, left)
        )

    async def succeeded(self, manifest: Manifest, patience: float | None = None) -> FinishReply:
        return await self.finish("succeeded", patience, manifest=manifest.model_dump())

    async def failed(self, error: TrainerError, patience: float | None = None) -> FinishReply:
        return await self.finish(
            "failed", patience, error_code=error.code, error_message=error.message[:2000], hint=error.hint[:2000]
        )

    def _holder(self) -> dict[str, Any]:
        return {"worker_id": self._worker_id, "fence": self._fence}

    def _watch_directives(self, order: Directive) -> None:
        if DIRECTIVE_PRIORITY.index(order) > DIRECTIVE_PRIORITY.index(self._order):
            self._order = order
            self._orders.put_nowait(order)

    async def _call(self, name: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        text = json.dumps(body, allow_nan=False)
        return await self._send(name, new_id(), text, self._patience if patience is None else patience)

    async def _send(self, name: str, message_id: str, text: str, patience: float) -> dict[str, Any]:
        """One callback, tried until it is answered. Raises CallbackUnreachable out of patience, or CallbackRejected."""
        assert self._url is not None and self._webhook is not None
        give_up = time.monotonic() + patience
        wait = 0.5
        while True:
            now = datetime.now(UTC)
            headers = {
                "content-type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._webhook.sign(message_id, now, text),
            }
            timeout = aiohttp.ClientTimeout(total=min(60, max(2.0, patience)))
            try:
                async with self._session.post(
                    f"{self._url}/{name}", data=text, headers=headers, timeout=timeout
                ) as response:
                    answer = await response.text()
                    if response.status == 200:
                        reply: dict[str, Any] = json.loads(answer)
                        return reply
                    problem = f"{name}: {response.status} {answer[:300]}"
                    if response.status < 500 and response.status not in TRANSIENT:
                        raise CallbackRejected(problem, response.status)
            except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
                problem = f"{name}: {type(error).__name__}"
            log.warning("callback %s", problem)
            if time.monotonic() + wait > give_up:
                raise CallbackUnreachable(problem)
            # Jitter, so that many workers do not come back at once.
            await asyncio.sleep(wait * (0.5 + random.random()))
            wait = min(wait * 2, MAX_RETRY_SECONDS)


def storable(text: str) -> str:
    """The text without what a database cannot store: NUL, and half of a surrogate pair, as a log can hold."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def new_id() -> str:
    """A `webhook-id`: the same on every try of one message."""
    return f"msg_{uuid.uuid4().hex}"
