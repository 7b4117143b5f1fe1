"""The training as a process group of its own, so that it can be ended whole and a crash takes nothing along."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
# What the training may know of this worker's environment: no key, no address, no secret.
PASSED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN",
    "TUNEBASE_MODEL_CACHE", "TUNEBASE_STACK",
)  # fmt: skip


class Training:
    """A running train_lora.py."""

    def __init__(self, process: asyncio.subprocess.Process, events: asyncio.StreamReader) -> None:
        self._process = process
        self._events = events
        self.last_lines: deque[str] = deque(maxlen=30)
        """The end of its log, for the worker's own."""

    @classmethod
    async def start(cls, spec: Path) -> Training:
        """Starts `train_lora.py SPEC` in a new session."""
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-u", str(HERE / "train_lora.py"), str(spec),
                cwd=HERE,
                env={name: os.environ[name] for name in PASSED if name in os.environ}
                | {"TUNEBASE_EVENTS_FD": str(write), "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
                limit=2**20,
            )  # fmt: skip
        finally:
            os.close(write)
        events = asyncio.StreamReader(limit=2**20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(events), os.fdopen(read, "rb")
        )
        return cls(process, events)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What it tells, until it ends."""
        draining = asyncio.create_task(self._drain())
        try:
            while line := await self._events.readline():
                yield json.loads(line)
            await draining
        finally:
            draining.cancel()

    async def _drain(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(2**16):
            for line in chunk.decode("utf-8", "replace").splitlines():
                if line.strip():
                    self.last_lines.append(line[-500:])

    async def wait(self) -> int:
        """Its exit status; negative: the signal that ended it."""
        return await self._process.wait()

    async def kill(self, grace: float = 5.0) -> None:
        """Ends the whole group: asked first, then forced."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            pass
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass  # the group is gone
