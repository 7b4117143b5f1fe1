"""Detects that the platform is stopping this worker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("tunebase")


def grace_seconds() -> float:
    """How long the platform waits between SIGTERM and SIGKILL, as configured by the operator."""
    return float(os.environ.get("TUNEBASE_SHUTDOWN_GRACE_SECONDS") or 25)


@contextmanager
def sigterm_event() -> Iterator[asyncio.Event]:
    """An event that SIGTERM sets. The previous handler (RunPod's SDK: accept no more jobs) still runs."""
    loop, received = asyncio.get_running_loop(), asyncio.Event()
    previous = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(received.set)
        if callable(previous):
            previous(number, frame)

    try:
        signal.signal(signal.SIGTERM, handle)
    except ValueError:  # only the main thread can set handlers
        log.warning("SIGTERM will not be handled: this is not the main thread")
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)
