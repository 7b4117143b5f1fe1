"""The RunPod worker: takes one attempt at a time, trains it in a process of its own, reports, uploads, cleans up.

The SDK cancels an async handler within about two seconds of a cancel; a handler that blocks would never hear of it.
SIGTERM only keeps the SDK from taking more jobs: an attempt that is cut off ends through its lease.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import runpod

from status_manager import StatusManager
from tunebase_trainer.errors import AttemptCancelled, AttemptLost, TrainerError
from tunebase_trainer.process import Training
from tunebase_trainer.protocol import ArtifactFile, Manifest, RunInput, check_url, parse_input
from tunebase_trainer.transfer import describe, download, upload

log = logging.getLogger("tunebase")
# Names this process: the same worker asking again is the same, another one (or this one restarted) is not.
WORKER_ID = f"{os.environ.get('RUNPOD_POD_ID', socket.gethostname())}-{uuid.uuid4().hex[:8]}"


def work_root() -> Path:
    """Where attempts work: a directory for each, on the volume where there is one."""
    if named := os.environ.get("TUNEBASE_WORK_DIR"):
        return Path(named)
    volume = Path("/runpod-volume")
    return (volume if volume.is_dir() else Path(tempfile.gettempdir())) / "tunebase" / "work"


async def handler(job: dict[str, Any]) -> dict[str, Any]:
    """One attempt. Returns a HandlerOutput; a failure has `error` in it, which RunPod shows as FAILED."""
    raw = job.get("input")
    async with aiohttp.ClientSession() as session:
        try:
            run = parse_input(raw)
        except TrainerError as error:
            await _say_invalid(session, raw, job.get("id"), error)
            return _failure(raw.get("job_id", "") if isinstance(raw, dict) else "", error)
        status = StatusManager(session, run.callback_url, run.callback_secret, WORKER_ID)
        return await Attempt(run, job, session, status).run()


async def _say_invalid(session: aiohttp.ClientSession, raw: Any, runpod_id: str | None, error: TrainerError) -> None:
    """Input that cannot be used still ends its job with the reason, if it says where to report."""
    if not isinstance(raw, dict) or not raw.get("callback_url") or not raw.get("callback_secret"):
        return
    try:
        check_url("callback_url", str(raw["callback_url"]))
        status = StatusManager(session, str(raw["callback_url"]), str(raw["callback_secret"]), WORKER_ID, patience=30)
        await status.claim(runpod_id)
        await status.failed(error)
    except Exception as problem:  # the first error is what matters, and is returned
        log.warning("could not report invalid input: %s", type(problem).__name__)


def _failure(job_id: Any, error: TrainerError) -> dict[str, Any]:
    return {
        "status": "failed",
        "job_id": str(job_id),
        "error": error.message,
        "error_message": error.message,
        "error_code": error.code,
        "hint": error.hint,
    }


class Attempt:
    """One attempt from claim to end."""

    def __init__(
        self, run: RunInput, job: dict[str, Any], session: aiohttp.ClientSession, status: StatusManager
    ) -> None:
        self.input = run
        self.job = job
        self.session = session
        self.status = status
        self.directory: Path | None = None
        self.training: Training | None = None

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        reporting: asyncio.Task[None] | None = None
        try:
            dataset_url, sha256, validation_url = await self._claim()
            reporting = asyncio.create_task(self._report())
            manifest = await self._until_ordered(self._work(dataset_url, sha256, validation_url), reporting)
            log.info("attempt of job %s succeeded in %.0f s", self.input.job_id, time.monotonic() - started)
            return manifest
        except AttemptLost as lost:
            return {"status": "refused", "job_id": self.input.job_id, "detail": str(lost) or "not this worker's"}
        except AttemptCancelled:
            await self._end_training()
            await self.status.cancelled()
            return {"status": "cancelled", "job_id": self.input.job_id, "detail": "cancelled by order"}
        except asyncio.CancelledError:
            # RunPod cancelled the run, or its time is over. Short, for it will not wait.
            await self._end_training()
            with suppress(Exception):
                await asyncio.wait_for(self.status.cancelled(), 5)
            raise
        except Exception as problem:
            error = problem if isinstance(problem, TrainerError) else self._unexpected(problem)
            await self._end_training()
            with suppress(TrainerError):  # unreachable: the lease runs out, and RunPod keeps what is returned here
                await self.status.failed(error)
            return _failure(self.input.job_id, error)
        finally:
            if reporting is not None:
                reporting.cancel()
            self._clean_up()

    async def _claim(self) -> tuple[str, str, str | None]:
        run = self.input
        if run.callback_url is None:
            self.directory = work_root() / run.job_id / str(run.attempt)
            self.directory.mkdir(parents=True, exist_ok=True)
            return run.dataset_url, "", run.validation_url
        reply = await self.status.claim(self.job.get("id"))
        for name, url in (("dataset_url", reply.dataset_url), ("validation_url", reply.validation_url)):
            if url is not None:
                check_url(name, url)
        self.directory = work_root() / run.job_id / f"{run.attempt}-{reply.fence}"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        return reply.dataset_url, reply.dataset_sha256, reply.validation_url

    async def _report(self) -> None:
        """Callbacks about once a second, and RunPod's own progress every five."""
        polled = "RUNPOD_WEBHOOK_POST_OUTPUT" in os.environ

        async def show() -> None:
            while polled:
                runpod.serverless.progress_update(self.job, self.status.snapshot())
                await asyncio.sleep(5)

        async with asyncio.TaskGroup() as group:
            group.create_task(self.status.keep_reporting())
            group.create_task(show())

    async def _until_ordered(self, work: Any, reporting: asyncio.Task[None]) -> dict[str, Any]:
        """Runs `work` until it is done, the server orders an end, or reporting has failed for good."""
        working: asyncio.Task[dict[str, Any]] = asyncio.create_task(work)
        try:
            waited: list[asyncio.Future[Any]] = [working, self.status.ordered, reporting]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if self.status.ordered.done():
                if self.status.ordered.result() == "stop":
                    await self._end_training()
                    raise AttemptLost("the server has given the attempt to another worker, or ended it")
                raise AttemptCancelled
            if not reporting.done():
                raise RuntimeError("nothing happened")
            try:
                reporting.result()
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
            return await working
        finally:
            if not working.done():
                working.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await working

    async def _work(self, dataset_url: str, sha256: str, validation_url: str | None) -> dict[str, Any]:
        assert self.directory is not None
        status = self.status
        status.stage("downloading", 1)
        dataset = self.directory / "train.jsonl"
        sha256 = await download(self.session, dataset_url, dataset, sha256)
        validation: Path | None = None
        if validation_url is not None:
            validation = self.directory / "validation.jsonl"
            await download(self.session, validation_url, validation, "")

        result = await self._train(dataset, validation)
        adapter = self.directory / "adapter"
        files = await asyncio.to_thread(describe, adapter)
        manifest = Manifest(
            **{name: result[name] for name in Manifest.model_fields if name in result},
            files=files,
            hyperparameters=self.input.hyperparameters,
            dataset_sha256=sha256,
        )
        adapter_path = str(adapter)
        if self.input.callback_url is not None:
            adapter_path = await self._upload(adapter, files)
            finish = await status.succeeded(manifest)
            if not finish.accepted:
                raise TrainerError(
                    "upload_failed", f"The adapter was not accepted: {finish.detail}.", "Create the job again."
                )
        return {
            "status": "completed",
            "job_id": self.input.job_id,
            "adapter_path": adapter_path,
            "progress": 100,
            "metrics": status.last_metric.model_dump() if status.last_metric else None,
            "manifest": manifest.model_dump(),
        }

    async def _train(self, dataset: Path, validation: Path | None) -> dict[str, Any]:
        """Runs train_lora.py; returns its result. Raises the TrainerError that it told, or `trainer_killed`."""
        assert self.directory is not None
        spec = self.directory / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "dataset": str(dataset),
                    "validation": str(validation) if validation else None,
                    "output": str(self.directory / "adapter"),
                    "hyperparameters": self.input.hyperparameters.model_dump(),
                }
            )
        )
        self.training = training = await Training.start(spec)
        result: dict[str, Any] | None = None
        error: TrainerError | None = None
        async for event in training.events():
            match event.pop("type"):
                case "stage":
                    self.status.stage(event["stage"], event["progress"])
                case "step":
                    self.status.step(event)
                case "log":
                    self.status.log(event["level"], event["message"])
                case "error":
                    error = TrainerError(event["code"], event["message"], event["hint"])
                case "result":
                    result = event
        code = await training.wait()
        if error is None and result is not None and code == 0:
            return result
        log.warning("training ended with %s; its last lines:\n%s", code, "\n".join(training.last_lines))
        if error is not None:
            raise error
        if code < 0:
            name = signal.Signals(-code).name
            raise TrainerError(
                "trainer_killed",
                f"The training process was killed ({name}), most likely because the worker ran out of memory.",
                "Create the job again; if it is killed again, use a smaller max_length or batch_size.",
            )
        raise TrainerError("internal_error", f"The training process ended with status {code} and no result.")

    async def _upload(self, adapter: Path, files: list[ArtifactFile]) -> str:
        """Uploads every file and has each verified; returns the adapter's place in Storage."""
        total = sum(file.bytes for file in files)
        done = 0
        self.status.stage("uploading", 94)
        reply = await self.status.uploads(files)
        targets = {target.path: target for target in reply.targets}
        for file in files:
            if file.path not in targets:
                raise TrainerError("upload_failed", f"There is no place to upload {file.path} to.")

            def told(sent: int, before: int = done) -> None:
                self.status.stage("uploading", 94 + 5 * (before + sent) / total)

            for attempt in range(2):
                await upload(adapter / file.path, targets[file.path], told)
                verified = await self.status.verify(file)
                if verified.verified or verified.order == "stop":
                    break
                log.warning("verification %s: %s", attempt + 1, verified.detail)
            else:
                raise TrainerError(
                    "upload_failed",
                    f"The adapter arrived damaged in Storage: {verified.detail}.",
                    "Create the job again.",
                )
            done += file.bytes
        first = reply.targets[0]
        return f"{first.bucket}/{first.object.removesuffix(first.path)}"

    def _unexpected(self, problem: Exception) -> TrainerError:
        log.exception("attempt of job %s broke", self.input.job_id, exc_info=problem)
        if isinstance(problem, OSError) and problem.errno == 28:
            return TrainerError("disk_full", "The worker's disk is full.", "The operator must give it more room.")
        return TrainerError(
            "internal_error",
            f"The worker broke ({type(problem).__name__}).",
            "It is not your data. The operator finds the traceback in the worker's log.",
        )

    async def _end_training(self) -> None:
        if self.training is not None:
            await asyncio.shield(self.training.kill())

    def _clean_up(self) -> None:
        if self.directory is None:
            return
        if self.input.callback_url is None and (self.directory / "adapter").is_dir():
            for item in self.directory.iterdir():  # called directly: the adapter is what the caller came for
                if item.name != "adapter":
                    shutil.rmtree(item) if item.is_dir() else item.unlink()
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        with suppress(OSError):
            self.directory.parent.rmdir()  # when no other attempt of the job works beside it


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    runpod.serverless.start({"handler": handler})
