"""Sends progress updates to RunPod, which its /status shows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from .runpod_sdk import AsyncClientSession, send_result

# The interval between updates, in seconds.
PROGRESS_SECONDS = 5.0


async def send_progress(job: dict[str, Any], current: Callable[[], dict[str, Any]]) -> None:
    """Sends `current()` at intervals, one update at a time, until it is cancelled. No update is in flight afterwards.

    Not `runpod.serverless.progress_update`, which sends from a thread at an unknown time: a late update would replace a
    newer one, or the result.
    """
    if "RUNPOD_WEBHOOK_POST_OUTPUT" not in os.environ:
        await asyncio.get_running_loop().create_future()
    async with AsyncClientSession() as session:
        while True:
            update = {"status": "IN_PROGRESS", "output": current()}
            sending = asyncio.create_task(send_result(session, update, job))
            try:
                await asyncio.shield(sending)
            except asyncio.CancelledError:
                await asyncio.wait([sending], timeout=5)
                sending.cancel()
                raise
            await asyncio.sleep(PROGRESS_SECONDS)
