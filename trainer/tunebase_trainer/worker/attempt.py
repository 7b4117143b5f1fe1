"""One attempt from claim to end: downloads, trains in a process of its own, reports, uploads, cleans up.

What may end it early: an order in a reply (stop, cancel, pause), SIGTERM from the platform, RunPod's cancel
(asyncio.CancelledError). What does not: Tunebase out of reach after the claim.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Never

import aiohttp
from runpod.http_client import AsyncClientSession
from runpod.serverless.modules.rp_http import send_result

from ..errors import AttemptCancelled, AttemptStopped, CallbackUnreachable, LeaseLost, TrainerError
from . import workdir
from .adapter_upload import ADAPTER_FILES, FINISH_TIMEOUT_SECONDS, AdapterUpload
from .callback_client import CallbackClient
from .checkpoint_upload import CheckpointUploads, SavedCheckpoint, fetch
from .error_mapping import add_hint, to_worker_error
from .log_redaction import redacted_tail
from .preemption import grace_seconds
from .process import TrainingProcess
from .protocol import ClaimReply, Manifest, RunInput, check_url
from .transfers import describe, download
from .wandb_mirror import PATIENCE, WandbMirror

log = logging.getLogger("tunebase")
# How often polling RunPod shows something new.
PROGRESS_SECONDS = 5.0


def failure(job_id: Any, error: TrainerError) -> dict[str, Any]:
    """A HandlerOutput whose `error` RunPod shows as FAILED."""
    return {
        "status": "failed",
        "job_id": str(job_id),
        "error": error.message,
        "error_message": error.message,
        "error_code": error.code,
        "hint": error.hint,
    }


class Attempt:
    def __init__(
        self,
        run: RunInput,
        job: dict[str, Any],
        session: aiohttp.ClientSession,
        status: CallbackClient,
        preempted: asyncio.Event,
    ) -> None:
        self.began = time.monotonic()
        self.input, self.job, self.session, self.status, self.preempted = run, job, session, status, preempted
        self.checkpoints = CheckpointUploads(status)
        self.adapter = AdapterUpload(status)
        self.directory: Path | None = None
        self.training: TrainingProcess | None = None
        self.wandb = WandbMirror(status.log)
        self.phase: Literal["before", "training", "after"] = "before"
        self.outcome: Literal["paused", "preempted"] | None = None
        """What a training that was asked to stop ends as."""
        self.out_of_time = False

    async def run(self) -> dict[str, Any]:
        """Returns a HandlerOutput. Raises nothing but asyncio.CancelledError."""
        try:
            claim = await self._claim()
            return await self._run_with_watchers(self._work(claim))
        except LeaseLost as lost:
            return {"status": "refused", "job_id": self.input.job_id, "detail": str(lost) or "not this worker's"}
        except AttemptCancelled:
            with suppress(CallbackUnreachable):
                await self.status.finish("cancelled", FINISH_TIMEOUT_SECONDS)
            return {"status": "cancelled", "job_id": self.input.job_id, "detail": "cancelled by order"}
        except AttemptStopped:
            return await self._stopped()
        except asyncio.CancelledError:
            # RunPod cancelled the run, or its time is over. Short, for it will not wait.
            with suppress(Exception):
                await asyncio.wait_for(self.status.finish("cancelled", 5), 5)
            raise
        except Exception as problem:
            if not isinstance(problem, TrainerError):
                log.exception("attempt of job %s broke", self.input.job_id)
            error = add_hint(to_worker_error(problem), self.input.hyperparameters)
            with suppress(TrainerError):  # unreachable: the lease runs out, and RunPod keeps what is returned here
                await self.status.failed(error, FINISH_TIMEOUT_SECONDS)
            return failure(self.input.job_id, error)
        finally:
            self.status.close()
            if self.directory is not None:
                # Called directly, the adapter is what the caller came for.
                workdir.remove(self.directory, keep="adapter" if self.input.callback_url is None else None)

    async def _claim(self) -> ClaimReply:
        run = self.input
        if run.callback_url is None:
            reply = ClaimReply(claimed=True, dataset_url=run.dataset_url, validation_url=run.validation_url)
        else:
            reply = await self.status.claim(self.job.get("id"))
        for name, url in (("dataset_url", reply.dataset_url), ("validation_url", reply.validation_url)):
            if url is not None:
                check_url(name, url)
        self.directory = workdir.create(run.job_id, run.attempt, reply.fence)
        self.status.begin(self.directory, run.hyperparameters.num_epochs)
        return reply

    # --- what goes on beside the work

    async def _run_with_watchers(self, work: Any) -> dict[str, Any]:
        """Runs `work` until it is done or a watcher ends it; nothing of either goes on afterwards."""
        working: asyncio.Task[dict[str, Any]] = asyncio.create_task(work)
        watching: list[asyncio.Task[Any]] = [
            asyncio.create_task(watch())
            for watch in (
                self.status.report_forever,
                self._send_runpod_progress,
                self._watch_directives,
                self._watch_preemption,
            )
        ]
        try:
            await asyncio.wait([working, *watching], return_when=asyncio.FIRST_COMPLETED)
            for watcher in watching:
                # First: an attempt that is not ours any more did not succeed. One that is out of time may have.
                if watcher.done() and not (working.done() and isinstance(watcher.exception(), AttemptStopped)):
                    watcher.result()
            return working.result()
        finally:
            for task in (working, *watching):
                task.cancel()
            if self.training is not None:
                await asyncio.shield(self.training.kill())
            await asyncio.shield(self.wandb.close(0))
            await self.checkpoints.stop()
            await asyncio.gather(working, *watching, return_exceptions=True)

    async def _send_runpod_progress(self) -> None:
        """RunPod's own progress, one after the other, and none that is under way when the attempt returns.

        Not by `runpod.serverless.progress_update`: it sends from a thread of its own, nobody knows when. A late one
        would replace a newer one, or the result.
        """
        if "RUNPOD_WEBHOOK_POST_OUTPUT" not in os.environ:
            await asyncio.get_running_loop().create_future()
        async with AsyncClientSession() as session:
            while True:
                shown = {"status": "IN_PROGRESS", "output": self.status.snapshot()}
                sending = asyncio.create_task(send_result(session, shown, self.job))
                try:
                    await asyncio.shield(sending)
                except asyncio.CancelledError:
                    await asyncio.wait([sending], timeout=5)
                    sending.cancel()
                    raise
                await asyncio.sleep(PROGRESS_SECONDS)

    async def _watch_directives(self) -> Never:
        while True:
            match await self.status.next_directive():
                case "stop":
                    raise LeaseLost("the server has given the attempt to another worker, or ended it")
                case "cancel":
                    raise AttemptCancelled
                case "pause":
                    await self._stop_training("paused")

    async def _watch_preemption(self) -> Never:
        await self.preempted.wait()
        log.warning("the platform ends this worker (SIGTERM)")
        await self._stop_training("preempted")
        # What is left of the platform's patience is for telling it.
        await asyncio.sleep(max(1.0, grace_seconds() - 5))
        raise AttemptStopped

    async def _stop_training(self, outcome: Literal["paused", "preempted"]) -> None:
        if self.phase == "after" and outcome == "paused":
            log.info("nothing is left to pause: the training is done")
            return
        self.outcome = outcome
        if self.phase == "before":
            raise AttemptStopped
        if self.phase == "training" and self.training is not None:
            self.training.request_stop()

    # --- the work

    async def _work(self, claim: ClaimReply) -> dict[str, Any]:
        assert self.directory is not None
        self.status.stage("downloading", 1)
        dataset = self.directory / "train.jsonl"
        sha256 = await download(self.session, claim.dataset_url, dataset, claim.dataset_sha256)
        validation: Path | None = None
        if claim.validation_url is not None:
            validation = self.directory / "validation.jsonl"
            await download(self.session, claim.validation_url, validation, claim.validation_sha256 or "")
        result = await self._train(
            {
                "dataset": str(dataset),
                "validation": str(validation) if validation else None,
                "output": str(self.directory / "adapter"),
                "hyperparameters": self.input.hyperparameters.model_dump(),
                "num_gpus": self.input.gpu_config.num_gpus,
                "checkpoints": str(self.directory / "checkpoints"),
                "checkpoint_seconds": claim.checkpoint_seconds if self.input.callback_url else None,
                "resume": await self._fetch_checkpoint(claim),
                "start_from": await self._fetch_start(claim),
                "seconds": self._seconds_left(),
            }
        )
        self.phase = "after"
        await self.checkpoints.stop()  # what is better than a checkpoint is there
        adapter = self.directory / "adapter"
        manifest = Manifest(
            **{name: result[name] for name in Manifest.model_fields if name in result},
            files=await asyncio.to_thread(describe, adapter),
            hyperparameters=self.input.hyperparameters,
            dataset_sha256=sha256,
        )
        place = str(adapter)
        if self.input.callback_url is not None:
            place, manifest = await self.adapter.deliver(adapter, manifest)
        metric = self.status.last_metric
        return {
            "status": "completed",
            "job_id": self.input.job_id,
            "adapter_path": place,
            "progress": 100,
            "metrics": metric.model_dump() if metric else None,
            "manifest": manifest.model_dump(),
        }

    def _seconds_left(self) -> float | None:
        """Until the training must have saved, so that what it saved is uploaded before RunPod ends the run."""
        limit = self.input.execution_timeout_seconds
        return None if limit is None else max(0.0, limit - min(120, limit / 10) - (time.monotonic() - self.began))

    async def _fetch_checkpoint(self, claim: ClaimReply) -> str | None:
        if claim.resume is None:
            return None
        assert self.directory is not None
        try:
            return str(await fetch(self.session, claim.resume, self.directory / "resume"))
        except TrainerError as problem:
            self.status.log("warn", f"{problem.message} Training begins at the beginning.")
            return None

    async def _fetch_start(self, claim: ClaimReply) -> str | None:
        """Without it the run would be another than was asked for: a download that fails ends the attempt."""
        if claim.start_from is None:
            return None
        assert self.directory is not None
        target = self.directory / "start_from"
        for file in claim.start_from.files:
            if file.path not in ADAPTER_FILES:
                continue  # what lies beside it, a merged model among that, is not needed
            check_url("start_from.files.url", file.url)
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            await download(self.session, file.url, path, file.sha256, what=f"The earlier adapter's file {file.path}")
        return str(target)

    async def _train(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Runs the training; returns its result. Raises AttemptStopped when it was asked to stop and did, the
        TrainerError that it on_progress, or `trainer_killed`."""
        assert self.directory is not None
        path = self.directory / "spec.json"
        path.write_text(json.dumps(spec))
        self.training = training = await TrainingProcess.start(path)
        await self.wandb.start(self.input, self.directory)
        targets: asyncio.Task[None] | None = None
        result: dict[str, Any] | None = None
        error: TrainerError | None = None
        try:
            async for event in training.events():
                match event.pop("type"):
                    case "stage":
                        self.status.stage(event["stage"], event["progress"])
                        if event["stage"] == "training" and self.phase == "before":
                            self.phase = "training"
                            if self.input.callback_url is not None:
                                targets = asyncio.create_task(self.adapter.refresh_targets())
                    case "resumed":
                        self.status.resumed(**event)
                    case "step":
                        self.wandb.step(event)
                        self.status.step(event)
                    case "checkpoint":
                        self._keep_checkpoint(SavedCheckpoint(**{**event, "path": Path(event["path"])}))
                    case "log":
                        self.status.log(event["level"], event["message"])
                    case "error":
                        error = TrainerError(event["code"], event["message"], event["hint"])
                    case "stopped":
                        # Not asked by us: its time is nearly over, or the platform on_progress every process of its container.
                        self.outcome = self.outcome or "preempted"
                        self.out_of_time = event["out_of_time"]
                    case "result":
                        result = event
            code = await training.wait()
            self.wandb.end(0 if error is None and code == 0 else 1)
            await self.wandb.close(1 if self.outcome == "preempted" else PATIENCE)
        finally:
            if targets is not None:
                targets.cancel()
                await asyncio.wait([targets])
        if error is None and result is not None and code == 0:
            return result
        if error is None and self.outcome is not None and code in (0, -signal.SIGTERM):
            await self.checkpoints.drain()
            raise AttemptStopped
        log.warning("training ended with %s; its last lines:\n%s", code, "\n".join(training.last_lines))
        if (error is None or error.code in ("internal_error", "out_of_memory")) and (
            said := redacted_tail(training.last_lines)
        ):
            self.status.log("error", f"The trainer's last lines:\n{said}")
        if error is not None:
            raise error
        if code < 0:
            raise TrainerError(
                "trainer_killed",
                f"The training process was killed ({signal.Signals(-code).name}), most likely because the worker ran "
                "out of memory.",
                "Create the job again; if it is killed again, use a smaller max_length or batch_size.",
            )
        raise TrainerError(
            "internal_error",
            f"The training process ended with status {code} and no result.",
            "It is not your data. Its last lines are in the job's log; the operator finds more in the worker's.",
        )

    def _keep_checkpoint(self, saved: SavedCheckpoint) -> None:
        if self.input.callback_url is not None:
            self.checkpoints.enqueue(saved)

    # --- ends

    async def _stopped(self) -> dict[str, Any]:
        assert self.outcome is not None
        kept = self.checkpoints.uploaded
        detail = "nothing new was saved" if kept is None else f"saved after step {kept}"
        why = (
            f"The run came near its limit of {self.input.execution_timeout_seconds} seconds."
            if self.out_of_time
            else "The platform ended the worker (SIGTERM)."
        )
        said = {"reason": why} if self.outcome == "preempted" else {}
        try:
            await self.status.finish(self.outcome, 5 if self.outcome == "preempted" else FINISH_TIMEOUT_SECONDS, **said)
        except CallbackUnreachable as problem:
            log.warning("%s; Tunebase learns it from RunPod", problem)
        return {"status": self.outcome, "job_id": self.input.job_id, "detail": detail}
