"""Checks whether this worker's GPU is usable. If not, the worker refuses jobs and asks RunPod for another host.

The self-test runs in a separate process. This one never loads torch, which would occupy memory on every GPU.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from ..errors import TrainerError
from .process import TRAINER_DIR, training_environment
from .protocol import GpuConfig

log = logging.getLogger("tunebase")
TIMEOUT_SECONDS = 180


_checks: list[dict[str, str]] | None = None
"""Of this process's self-test."""


async def selftest() -> list[dict[str, str]]:
    """The checks of the quick self-test, which runs once per process."""
    global _checks
    if _checks is None:
        _checks = await _run_selftest()
    return _checks


async def _run_selftest() -> list[dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tunebase_trainer.selftest", "--quick", "--json",
        cwd=TRAINER_DIR,
        env=training_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        checks: list[dict[str, str]] = json.loads(stdout)
    except (TimeoutError, ValueError) as problem:
        if process.returncode is None:
            process.kill()
            await process.wait()
            found = f"the self-test did not end within {TIMEOUT_SECONDS} s"
        else:
            log.error("the self-test's output:\n%s", stderr.decode("utf-8", "replace")[-2000:])
            found = f"the self-test ended with status {process.returncode} ({type(problem).__name__})"
        checks = [{"name": "cuda", "status": "failed", "found": found, "advice": "Use another host."}]
    for check in checks:
        log.info("self-test: %(status)s %(name)s: %(found)s %(advice)s", check)
    return checks


async def check_gpu(config: GpuConfig) -> None:
    """Raises TrainerError `gpu_unavailable` if the job needs a GPU and this worker cannot use one."""
    if not config.requires_gpu:
        return
    checks = await selftest()
    for check in checks:
        # A GPU without bf16 is a wrong configuration, not a faulty host: training reports it, and no other host is
        # tried.
        if check["status"] == "failed" and check["name"] in ("driver", "cuda"):
            raise TrainerError("gpu_unavailable", f"This worker cannot use its GPU: {check['found']}.", check["advice"])
        if check["name"] == "driver" and check["status"] == "skipped":
            raise TrainerError(
                "gpu_unavailable",
                f"gpu_type = {config.gpu_type}: this worker has no GPU ({check['found']}).",
                "The operator must run the worker on a GPU, or set the base model's gpu_type to cpu.",
            )
