"""One attempt from claim to end: download, train in a separate process, report, upload, clean up.

It ends early on a directive in a reply (stop, cancel, pause), on SIGTERM from the platform, and when RunPod cancels the
run (asyncio.CancelledError). It does not end because Tunebase is unreachable after the claim.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Never

import aiohttp

from status_manager import JobStatus, StatusManager

from ..errors import AttemptCancelled, AttemptStopped, CallbackUnreachable, LeaseLost, TrainerError
from . import direct_upload, outputs, workdir
from .adapter_upload import FINISH_TIMEOUT_SECONDS, MANIFEST_FILE, AdapterUpload
from .callback_client import CallbackClient
from .checkpoint_upload import CheckpointUploads
from .error_mapping import add_hint, to_worker_error
from .hub_push import HubPush
from .inputs import Inputs, fetch_inputs
from .preemption import grace_seconds
from .process import TrainingProcess
from .protocol import AdapterUploaded, ClaimReply, Hyperparameters, Manifest, RunInput, check_url
from .runpod_progress import send_progress
from .training_events import TrainingEvents
from .transfers import describe
from .wandb_mirror import WandbMirror

log = logging.getLogger("tunebase")

EndedEarly = Literal["paused", "preempted"]


class Attempt:
    def __init__(
        self,
        run: RunInput,
        runpod_job: dict[str, Any],
        session: aiohttp.ClientSession,
        callbacks: CallbackClient,
        jobs: StatusManager,
        preempted: asyncio.Event,
    ) -> None:
        self.started = time.monotonic()
        self.input, self.runpod_job, self.session = run, runpod_job, session
        self.callbacks, self.jobs, self.preempted = callbacks, jobs, preempted
        self.direct = run.callback_url is None
        self.checkpoints = CheckpointUploads(callbacks)
        self.adapter = AdapterUpload(callbacks, self._set_upload_progress)
        self.directory: Path | None = None
        self.training: TrainingProcess | None = None
        self.wandb = WandbMirror(callbacks.add_log)
        self.hub = HubPush(callbacks, preempted)
        self.phase: Literal["before", "training", "after"] = "before"
        self.outcome: EndedEarly | None = None
        """How a training that was asked to stop ends."""
        self.out_of_time = False

    async def run(self) -> dict[str, Any]:
        """Returns a HandlerOutput. Raises nothing but asyncio.CancelledError."""
        job_id = self.input.job_id
        try:
            claim = await self._claim()
            self.jobs.update_status(job_id, "running")
            output = await self._run_with_watchers(self._work(claim))
            self.jobs.update_status(job_id, "completed", stage="completed")
            return output
        except LeaseLost as lost:
            return self._ended("refused", str(lost) or "this worker does not hold the attempt")
        except AttemptCancelled:
            with suppress(CallbackUnreachable):
                await self.callbacks.finish("cancelled", FINISH_TIMEOUT_SECONDS)
            return self._ended("cancelled", "cancelled on request")
        except AttemptStopped:
            return await self._finish_stopped()
        except asyncio.CancelledError:
            # RunPod cancelled the run, or its time limit is over. It does not wait long.
            with suppress(Exception):
                await asyncio.wait_for(self.callbacks.finish("cancelled", 5), 5)
            self.jobs.update_status(job_id, "cancelled")
            raise
        except Exception as problem:
            return await self._fail(problem)
        finally:
            self.callbacks.close()
            if self.directory is not None:
                # Called directly, the adapter is what the caller wants.
                workdir.remove(self.directory, keep="adapter" if self.direct else None)

    async def _claim(self) -> ClaimReply:
        run = self.input
        if self.direct:
            reply = ClaimReply(claimed=True, dataset_url=run.dataset_url, validation_url=run.validation_url)
        else:
            reply = await self.callbacks.claim(self.runpod_job.get("id"))
        for name, url in (("dataset_url", reply.dataset_url), ("validation_url", reply.validation_url)):
            if url is not None:
                check_url(name, url)
        self.directory = workdir.create(run.job_id, run.attempt, reply.fence)
        self.callbacks.open_spool(self.directory)
        return reply

    # --- what runs alongside the work

    async def _run_with_watchers(self, work: Any) -> dict[str, Any]:
        """Runs `work` until it is done or a watcher ends it; nothing of either outlives this call."""
        working: asyncio.Task[dict[str, Any]] = asyncio.create_task(work)
        watchers: list[asyncio.Task[Any]] = [
            asyncio.create_task(watch())
            for watch in (
                self.callbacks.report_forever, self._send_progress, self._watch_directives, self._watch_preemption
            )
        ]  # fmt: skip
        try:
            await asyncio.wait([working, *watchers], return_when=asyncio.FIRST_COMPLETED)
            for watcher in watchers:
                # Watchers first: an attempt that lost its lease did not succeed. One that was preempted may have.
                if watcher.done() and not (working.done() and isinstance(watcher.exception(), AttemptStopped)):
                    watcher.result()
            return working.result()
        finally:
            for task in (working, *watchers):
                task.cancel()
            if self.training is not None:
                await asyncio.shield(self.training.kill())
            await asyncio.shield(self.wandb.close(0))
            await self.checkpoints.stop()
            await asyncio.gather(working, *watchers, return_exceptions=True)

    async def _send_progress(self) -> None:
        await send_progress(self.runpod_job, lambda: outputs.progress(self._job()))

    async def _watch_directives(self) -> Never:
        while True:
            match await self.callbacks.next_directive():
                case "stop":
                    raise LeaseLost("the server ended the attempt or gave it to another worker")
                case "cancel":
                    raise AttemptCancelled
                case "pause":
                    await self._stop_training("paused")

    async def _watch_preemption(self) -> Never:
        await self.preempted.wait()
        log.warning("the platform is stopping this worker (SIGTERM)")
        await self._stop_training("preempted")
        # The rest of the grace period is for the last callback.
        await asyncio.sleep(max(1.0, grace_seconds() - 5))
        raise AttemptStopped

    async def _stop_training(self, outcome: EndedEarly) -> None:
        if self.phase == "after" and outcome == "paused":
            log.info("too late to pause: training has finished")
            return
        self.outcome = outcome
        if self.phase == "before":
            raise AttemptStopped
        if self.phase == "training" and self.training is not None:
            self.training.request_stop()

    # --- the work

    async def _work(self, claim: ClaimReply) -> dict[str, Any]:
        assert self.directory is not None
        warning = direct_upload.loss_warning(self.input.adapter_upload_url) if self.direct else None
        if warning is not None:
            log.warning("%s", warning)
        self.jobs.update_progress(self.input.job_id, 1, stage="downloading")
        inputs = await fetch_inputs(self.session, claim, self.directory, self.direct, self.callbacks.add_log)
        result = await self._train(self._spec(claim, inputs))
        self.phase = "after"
        await self.checkpoints.stop()  # the adapter itself is better than a checkpoint
        adapter = self.directory / "adapter"
        manifest = Manifest(
            **{name: result[name] for name in Manifest.model_fields if name in result},
            files=await asyncio.to_thread(describe, adapter),
            hyperparameters=self._resolved(result),
            dataset_sha256=inputs.dataset_sha256,
        )
        adapter_path = str(adapter)
        uploaded: AdapterUploaded | None = None
        if not self.direct:
            adapter_path, manifest = await self.adapter.deliver(adapter, manifest, self._push)
        else:
            if self.input.adapter_upload_url is not None:
                self._set_upload_progress(0)
                uploaded = await direct_upload.upload_tar(self.session, self.input.adapter_upload_url, adapter)
            (self.directory / MANIFEST_FILE).write_text(manifest.model_dump_json())
            await self._push(manifest)
            warning = " ".join(filter(None, (warning, self.hub.problem))) or None
        return outputs.completed(self._job(), adapter_path, manifest, uploaded, warning)

    async def _push(self, manifest: Manifest) -> str | None:
        assert self.directory is not None
        paths = [file.path for file in manifest.files]
        return await self.hub.push(self.input, self.directory, paths, self._seconds_until_timeout())

    def _resolved(self, result: dict[str, Any]) -> Hyperparameters:
        """The hyperparameters, with the quantization that the training chose for `auto`."""
        hyper = self.input.hyperparameters
        return hyper.model_copy(update={"quantization": result.get("quantization", hyper.quantization)})

    def _spec(self, claim: ClaimReply, inputs: Inputs) -> dict[str, Any]:
        """SPEC of process.py."""
        assert self.directory is not None
        return {
            "dataset": str(inputs.dataset),
            "validation": str(inputs.validation) if inputs.validation else None,
            "output": str(self.directory / "adapter"),
            "hyperparameters": self.input.hyperparameters.model_dump(),
            "num_gpus": self.input.gpu_config.num_gpus,
            "requires_gpu": self.input.gpu_config.requires_gpu,
            "checkpoints": str(self.directory / "checkpoints"),
            "checkpoint_seconds": None if self.direct else claim.checkpoint_seconds,
            "resume": str(inputs.resume) if inputs.resume else None,
            "start_from": str(inputs.start_from) if inputs.start_from else None,
            "seconds": self._seconds_left(),
        }

    def _seconds_left(self) -> float | None:
        """Until training must have saved, so that its checkpoint is uploaded before RunPod ends the run."""
        limit, left = self.input.execution_timeout_seconds, self._seconds_until_timeout()
        return None if limit is None or left is None else max(0.0, left - min(120, limit / 10))

    def _seconds_until_timeout(self) -> float | None:
        """Until RunPod ends the run."""
        limit = self.input.execution_timeout_seconds
        return None if limit is None else limit - (time.monotonic() - self.started)

    async def _train(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Runs the training; returns its result. Raises AttemptStopped if it stopped on request, or TrainerError."""
        assert self.directory is not None
        path = self.directory / "spec.json"
        path.write_text(json.dumps(spec))
        self.training = await TrainingProcess.start(path, self.input.gpu_config.num_gpus)
        await self.wandb.start(self.input, self.directory)
        return await TrainingEvents(self, self.training).follow()

    def _job(self) -> JobStatus:
        job = self.jobs.get_status(self.input.job_id)
        assert job is not None
        return job

    def _set_upload_progress(self, share: float) -> None:
        self.jobs.update_progress(self.input.job_id, 94 + 5 * share, stage="uploading")

    # --- ends

    def _ended(self, status: str, detail: str) -> dict[str, Any]:
        self.jobs.update_status(self.input.job_id, status)
        return outputs.ended(status, self.input.job_id, detail)

    async def _fail(self, problem: Exception) -> dict[str, Any]:
        job_id = self.input.job_id
        if not isinstance(problem, TrainerError):
            log.exception("attempt of job %s failed unexpectedly", job_id)
        error = add_hint(to_worker_error(problem), self.input.hyperparameters)
        with suppress(TrainerError):  # unreachable: the lease expires, and RunPod keeps what is returned here
            await self.callbacks.failed(error, FINISH_TIMEOUT_SECONDS)
        self.jobs.update_status(job_id, "failed", error_code=error.code, error_message=error.message, hint=error.hint)
        return outputs.failed(job_id, error)

    async def _finish_stopped(self) -> dict[str, Any]:
        assert self.outcome is not None
        step = self.checkpoints.uploaded
        detail = "no new checkpoint was saved" if step is None else f"saved a checkpoint after step {step}"
        reason = (
            f"The run approached its time limit of {self.input.execution_timeout_seconds} seconds."
            if self.out_of_time
            else "The platform stopped the worker (SIGTERM)."
        )
        details = {"reason": reason} if self.outcome == "preempted" else {}
        try:
            timeout_seconds = 5 if self.outcome == "preempted" else FINISH_TIMEOUT_SECONDS
            await self.callbacks.finish(self.outcome, timeout_seconds, **details)
        except CallbackUnreachable as problem:
            log.warning("%s; Tunebase will learn of it from RunPod", problem)
        return self._ended(self.outcome, detail)
