"""The RunPod worker's entry: takes one attempt at a time. What an attempt does is in tunebase_trainer/attempt.py.

The SDK cancels an async handler within about two seconds of a cancel; a handler that blocks would never hear of it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from typing import Any

import aiohttp
import runpod

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.worker.attempt import Attempt, failure
from tunebase_trainer.worker.callback_client import CallbackClient
from tunebase_trainer.worker.preemption import sigterm_event
from tunebase_trainer.worker.protocol import check_url, parse_input

log = logging.getLogger("tunebase")
# Names this process: the same worker asking again is the same, another one (or this one restarted) is not.
WORKER_ID = f"{os.environ.get('RUNPOD_POD_ID', socket.gethostname())}-{uuid.uuid4().hex[:8]}"

# How long an attempt waits, in seconds, for an answer without which no work may begin.
CLAIM_TIMEOUT_SECONDS = 300.0


async def handler(job: dict[str, Any]) -> dict[str, Any]:
    """One attempt. Returns a HandlerOutput; a failure has `error` in it, which RunPod shows as FAILED."""
    raw = job.get("input")
    async with aiohttp.ClientSession() as session:
        try:
            run = parse_input(raw)
        except TrainerError as error:
            await _report_invalid_input(session, raw, job.get("id"), error)
            return failure(raw.get("job_id", "") if isinstance(raw, dict) else "", error)
        status = CallbackClient(session, run.callback_url, run.callback_secret, WORKER_ID, CLAIM_TIMEOUT_SECONDS)
        # Here and not before: RunPod's SDK sets its own handler of SIGTERM when it starts.
        with sigterm_event() as preempted:
            started = time.monotonic()
            output = await Attempt(run, job, session, status, preempted).run()
    log.info("attempt of job %s: %s after %.0f s", run.job_id, output["status"], time.monotonic() - started)
    return output


async def _report_invalid_input(
    session: aiohttp.ClientSession, raw: Any, runpod_id: str | None, error: TrainerError
) -> None:
    session: aiohttp.ClientSession, raw: Any, runpod_id: str | None, error: TrainerError
) -> None:
    """Input that cannot be used still ends its job with the reason, if it says where to report."""
    if not isinstance(raw, dict) or not raw.get("callback_url") or not raw.get("callback_secret"):
        return
    try:
        check_url("callback_url", str(raw["callback_url"]))
        status = CallbackClient(session, str(raw["callback_url"]), str(raw["callback_secret"]), WORKER_ID, patience=30)
        await status.claim(runpod_id)
        await status.failed(error)
    except Exception as problem:  # the first error is what matters, and is returned
        log.warning("could not report invalid input: %s", type(problem).__name__)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    runpod.serverless.start({"handler": handler})
