"""Reports an attempt to Tunebase with signed callbacks, in order, retried until they arrive.

Callbacks are signed according to Standard Webhooks. A retry sends the same body with the same `webhook-id` and a new
timestamp, so that the server can distinguish a retry from a replay and from a new message. Replies carry directives for
the attempt.
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

from status_manager import StatusManager

from ..errors import CallbackRejected, CallbackUnreachable, LeaseLost, TrainerError
from .protocol import (
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
from .spool import Batch, Kind, Spool

log = logging.getLogger("tunebase")

# Statuses below 500 that are retried. 404, because a function does not exist while it is being deployed.
TRANSIENT_STATUSES = {404, 408, 425, 429}
# A directive can be replaced only by one later in this list.
DIRECTIVE_PRIORITY: list[Directive] = ["continue", "pause", "cancel", "stop"]
MAX_RETRY_SECONDS = 10.0
MIN_SECONDS_BETWEEN_REPORTS = 1.0
# The fields of a report, by the registry's names.
REPORTED_FIELDS = (
    "stage", "progress", "current_epoch", "total_epochs", "current_step", "total_steps", "trained_tokens",
    "seconds_left",
)  # fmt: skip


class CallbackClient:
    """The attempt's connection to Tunebase. Without a URL (called directly through RunPod), it sends nothing."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        callback_url: str | None,
        secret: str | None,
        worker_id: str,
        timeout_seconds: float,
        jobs: StatusManager,
        job_id: str,
    ) -> None:
        """`timeout_seconds`: how long calls are retried; reports are retried forever. Reports read the status of
        `job_id` from `jobs`."""
        self._session = session
        self._url = callback_url.rstrip("/") if callback_url else None
        self._webhook = Webhook(secret) if secret else None
        self._worker_id = worker_id
        self._timeout = timeout_seconds
        self._jobs, self._job_id = jobs, job_id
        self._fence = 0
        self._sequence = 0
        self._sending = asyncio.Lock()
        self._unanswered: tuple[str, str, Batch] | None = None
        """The report in flight: its id, its text and its contents. It is retried unchanged until it arrives."""
        self._spool: Spool | None = None
        self._finishing = False
        """Whether the final call is in progress. No heartbeat follows it."""
        self._reported_revision = 0
        self._last_sent = time.monotonic()
        self._report_seconds = 15.0
        self._directive: Directive = "continue"
        self._directives: asyncio.Queue[Directive] = asyncio.Queue()

    def open_spool(self, directory: Path) -> None:
        """Spools to `directory` what cannot be sent yet."""
        if self._url is not None:
            self._spool = Spool(directory / "spool.jsonl")

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    # --- the contents of the next report

    def add_metric(self, metric: Metric) -> None:
        self._add("metrics", metric)

    def add_log(self, level: str, message: str) -> None:
        """Adds a line to the job's log."""
        self._add("events", LogEvent(level=level, message=storable(message[:2000])))  # type: ignore[arg-type]

    def add_checkpoint(self, checkpoint: CheckpointReport) -> None:
        """Adds a checkpoint whose files have been verified."""
        self._add("checkpoints", checkpoint)

    def _add(self, kind: Kind, item: Metric | LogEvent | CheckpointReport) -> None:
        if self._spool is not None:
            self._spool.add(kind, item.model_dump())

    # --- the calls

    async def claim(self, runpod_job_id: str | None) -> ClaimReply:
        """Claims the attempt. Raises LeaseLost when another worker holds it or it has ended."""
        reply = ClaimReply.model_validate(
            await self._call("claim", {"worker_id": self._worker_id, "runpod_job_id": runpod_job_id})
        )
        if not reply.claimed:
            raise LeaseLost(reply.detail)
        self._fence = reply.fence
        self._report_seconds = reply.report_seconds
        return reply

    @property
    def is_ending(self) -> bool:
        """Whether the server has ended the attempt or wants it cancelled, according to the last reply."""
        return self._directive in ("cancel", "stop")

    async def next_directive(self) -> Directive:
        """Waits for the next pause, cancel or stop. Each is returned once; only one of higher priority can follow."""
        return await self._directives.get()

    async def report_forever(self) -> None:
        """Reports changes about once per second, and a heartbeat when there are none. Runs until it is cancelled.

        Raises CallbackRejected when the server rejects this worker's signature (401).
        """
        if self._url is None:
            await asyncio.get_running_loop().create_future()
        while True:
            await asyncio.sleep(0.25)
            idle = time.monotonic() - self._last_sent
            if (self._has_unreported() and idle >= MIN_SECONDS_BETWEEN_REPORTS) or idle >= self._report_seconds:
                await self.report()

    def _has_unreported(self) -> bool:
        job = self._jobs.get_status(self._job_id)
        return (
            (job is not None and job["revision"] != self._reported_revision)
            or self._unanswered is not None
            or (self._spool is not None and self._spool.pending > 0)
        )

    async def report(self) -> None:
        """Sends what is new, up to a report's limits, and retries the same report until it arrives."""
        if self._url is None:
            return
        async with self._sending:
            if self._finishing and not self._has_unreported():
                return  # while waiting, finish() sent the report
            if self._unanswered is None:
                self._unanswered = self._next_report()
            message_id, text, batch = self._unanswered
            directive: Directive = "continue"
            try:
                reply = ReportReply.model_validate(await self._send("report", message_id, text, math.inf))
                directive = reply.directive
            except CallbackRejected as rejected:
                if rejected.status == 401:
                    raise
                # A retry would be rejected again, but the next report may be accepted. Training must not fail because
                # of a log line.
                log.error("a report was rejected and is dropped: %s", rejected)
            self._unanswered = None
            self._last_sent = time.monotonic()
            if self._spool is not None:
                self._spool.mark_sent(batch)
        self._accept(directive)

    def _next_report(self) -> tuple[str, str, Batch]:
        self._sequence += 1
        job = self._jobs.get_status(self._job_id)
        if job is None:
            raise KeyError(self._job_id)
        self._reported_revision = job["revision"]
        batch = self._spool.batch() if self._spool is not None else Batch()
        status = {name: value for name, value in job.items() if name in REPORTED_FIELDS}
        body: dict[str, Any] = {**self._holder(), "sequence": self._sequence, **status, **batch.items}
        return new_id(), json.dumps(body, allow_nan=False), batch

    async def uploads(self, paths: list[str], timeout_seconds: float | None = None) -> UploadsReply:
        """Requests upload targets for files of these names."""
        reply = UploadsReply.model_validate(
            await self._call("uploads", {**self._holder(), "paths": paths}, timeout_seconds)
        )
        self._accept(reply.directive)
        return reply

    async def verify(self, file: ArtifactFile, timeout_seconds: float | None = None) -> VerifyReply:
        """Has the server verify one uploaded file."""
        body = {**self._holder(), "file": file.model_dump()}
        reply = VerifyReply.model_validate(await self._call("verify", body, timeout_seconds))
        self._accept(reply.directive)
        return reply

    async def finish(self, outcome: str, timeout_seconds: float | None = None, **details: Any) -> FinishReply:
        """The final call: `outcome`, and the details that protocol.ts requires for it. Sends pending reports first.

        Raises CallbackUnreachable if there is no response within `timeout_seconds`.
        """
        if self._url is None or self._fence == 0:  # no callback URL, or an attempt that this worker never held
            return FinishReply(accepted=True, detail=None)
        timeout_seconds = self._timeout if timeout_seconds is None else timeout_seconds
        give_up = time.monotonic() + timeout_seconds
        with suppress(TimeoutError):  # an outcome without the last metrics is better than none
            async with asyncio.timeout(timeout_seconds):
                while self._has_unreported():
                    await self.report()
        self._finishing = True
        left = max(2.0, give_up - time.monotonic())
        return FinishReply.model_validate(
            await self._call("finish", {**self._holder(), "outcome": outcome, **details}, left)
        )

    async def succeeded(
        self, manifest: Manifest, timeout_seconds: float | None = None, hub_url: str | None = None
    ) -> FinishReply:
        pushed = {} if hub_url is None else {"hub_url": hub_url}
        return await self.finish("succeeded", timeout_seconds, manifest=manifest.model_dump(), **pushed)

    async def failed(self, error: TrainerError, timeout_seconds: float | None = None) -> FinishReply:
        return await self.finish(
            "failed", timeout_seconds, error_code=error.code, error_message=error.message[:2000], hint=error.hint[:2000]
        )

    def _holder(self) -> dict[str, Any]:
        return {"worker_id": self._worker_id, "fence": self._fence}

    def _accept(self, directive: Directive) -> None:
        if DIRECTIVE_PRIORITY.index(directive) > DIRECTIVE_PRIORITY.index(self._directive):
            self._directive = directive
            self._directives.put_nowait(directive)

    async def _call(self, name: str, body: dict[str, Any], timeout_seconds: float | None = None) -> dict[str, Any]:
        text = json.dumps(body, allow_nan=False)
        return await self._send(name, new_id(), text, self._timeout if timeout_seconds is None else timeout_seconds)

    async def _send(self, name: str, message_id: str, text: str, timeout_seconds: float) -> dict[str, Any]:
        """Sends one callback, with retries. Raises CallbackRejected, or CallbackUnreachable after the timeout."""
        assert self._url is not None
        give_up = time.monotonic() + timeout_seconds
        wait = 0.5
        request_timeout = aiohttp.ClientTimeout(total=min(60, max(2.0, timeout_seconds)))
        while True:
            try:
                async with self._session.post(
                    f"{self._url}/{name}", data=text, headers=self._signed(message_id, text), timeout=request_timeout
                ) as response:
                    answer = await response.text()
                    if response.status == 200:
                        reply: dict[str, Any] = json.loads(answer)
                        return reply
                    problem = f"{name}: {response.status} {answer[:300]}"
                    if response.status < 500 and response.status not in TRANSIENT_STATUSES:
                        raise CallbackRejected(problem, response.status)
            except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
                problem = f"{name}: {type(error).__name__}"
            log.warning("callback %s", problem)
            if time.monotonic() + wait > give_up:
                raise CallbackUnreachable(problem)
            # Jitter, so that many workers do not retry at the same time.
            await asyncio.sleep(wait * (0.5 + random.random()))
            wait = min(wait * 2, MAX_RETRY_SECONDS)

    def _signed(self, message_id: str, text: str) -> dict[str, str]:
        assert self._webhook is not None
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, text),
        }


def storable(text: str) -> str:
    """Removes what the database cannot store and a log can contain: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def new_id() -> str:
    """A `webhook-id`, which is the same for every attempt to send one message."""
    return f"msg_{uuid.uuid4().hex}"
