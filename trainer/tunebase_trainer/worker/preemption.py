"""How an attempt hears that the platform takes its worker away."""

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
    """How long the platform waits between SIGTERM and SIGKILL, as far as the operator knows."""
    return float(os.environ.get("TUNEBASE_SHUTDOWN_GRACE_SECONDS", "25"))


@contextmanager
def sigterm_event() -> Iterator[asyncio.Event]:
    """An event that is set by SIGTERM. Who handled the signal before (RunPod's SDK: take no more jobs) still does."""
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    before = signal.getsignal(signal.SIGTERM)

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard.set)
        if callable(before):
            before(number, frame)

    try:
        signal.signal(signal.SIGTERM, hear)
    except ValueError:  # only the main thread may
        log.warning("SIGTERM will not be heard: this is not the main thread")
        yield heard
        return
    try:
        yield heard
    finally:
        signal.signal(signal.SIGTERM, before)
