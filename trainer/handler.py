"""The RunPod worker's entry point. It processes one attempt at a time; worker/attempt.py says what an attempt does.

The handler is async because the SDK cancels an async handler within about two seconds of a cancel request; a blocking
handler would not notice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from typing import Any

import aiohttp

from status_manager import StatusManager
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.worker import outputs, readiness
from tunebase_trainer.worker.attempt import Attempt
from tunebase_trainer.worker.callback_client import CallbackClient
from tunebase_trainer.worker.preemption import sigterm_event
from tunebase_trainer.worker.protocol import check_url, parse_input
from tunebase_trainer.worker.runpod_sdk import runpod

log = logging.getLogger("tunebase")
# Identifies this process, so that only this worker can repeat its claim: not another worker, and not this one after a
# restart.
WORKER_ID = f"{os.environ.get('RUNPOD_POD_ID', socket.gethostname())}-{uuid.uuid4().hex[:8]}"
# How long an attempt waits for a response that it needs before it can start, in seconds.
CLAIM_TIMEOUT_SECONDS = 300.0
# How long this process remembers a finished job.
JOB_RETENTION_SECONDS = 3600.0

jobs = StatusManager()


async def handler(job: dict[str, Any]) -> dict[str, Any]:
    """Runs one attempt. Returns a HandlerOutput; with `error`, RunPod shows the run as FAILED."""
    jobs.cleanup(JOB_RETENTION_SECONDS)
    raw = job.get("input")
    async with aiohttp.ClientSession() as session:
        try:
            run = parse_input(raw)
        except TrainerError as error:
            await _report_invalid_input(session, raw, job.get("id"), error)
            return outputs.failed(raw.get("job_id", "") if isinstance(raw, dict) else "", error)
        try:
            await readiness.check_gpu(run.gpu_config)
        except TrainerError as error:  # before the claim: another host takes the job
            log.error("refused job %s: %s %s", run.job_id, error.message, error.hint)
            return outputs.failed(run.job_id, error)
        jobs.create_job(run.job_id, run.hyperparameters.num_epochs)
        callbacks = CallbackClient(
            session, run.callback_url, run.callback_secret, WORKER_ID, CLAIM_TIMEOUT_SECONDS, jobs, run.job_id
        )
        # Not earlier, because RunPod's SDK installs its own SIGTERM handler when it starts.
        with sigterm_event() as preempted:
            started = time.monotonic()
            output = await Attempt(run, job, session, callbacks, jobs, preempted).run()
    log.info("attempt of job %s: %s after %.0f s", run.job_id, output["status"], time.monotonic() - started)
    return output


async def _report_invalid_input(
    session: aiohttp.ClientSession, raw: Any, runpod_id: str | None, error: TrainerError
) -> None:
    """Reports invalid input as the job's failure, if the input has a valid address to report to."""
    if not isinstance(raw, dict):
        return
    job_id = str(raw.get("job_id", ""))
    jobs.create_job(job_id)
    try:
        await _report_failure(session, raw, runpod_id, job_id, error)
    except Exception as problem:  # the validation error is more important, and is returned
        log.warning("could not report invalid input: %s", type(problem).__name__)
    jobs.update_status(job_id, "failed", error_code=error.code, error_message=error.message, hint=error.hint)


async def _report_failure(
    session: aiohttp.ClientSession, raw: dict[str, Any], runpod_id: str | None, job_id: str, error: TrainerError
) -> None:
    url, secret = raw.get("callback_url"), raw.get("callback_secret")
    if not url or not secret:
        return
    check_url("callback_url", str(url))
    callbacks = CallbackClient(session, str(url), str(secret), WORKER_ID, 30, jobs, job_id)
    await callbacks.claim(runpod_id)
    await callbacks.failed(error)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(readiness.selftest())  # before it accepts a job, which would have to wait
    runpod.serverless.start({"handler": handler})
