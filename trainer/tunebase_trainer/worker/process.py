"""Runs training as a separate process group, so that it can be killed as a whole and its crash does not end the worker.

The command is `TUNEBASE_TRAIN_COMMAND` (split like in a shell), or this interpreter with train_lora.py. A replacement
must follow this contract:

- It gets one more argument, the path of SPEC, a JSON file: `dataset` (path), `validation` (path or null), `output` (the
  directory for adapter_config.json, adapter_model.safetensors, and whatever else belongs to the artifact: every file in
  it is uploaded), `hyperparameters` (those of the protocol), `checkpoints` (a directory to save into),
  `checkpoint_seconds` (save about this often; null: only when asked to stop), `resume` (the directory of a checkpoint
  that it saved, or null), `start_from` (the directory of an adapter to start from; null or absent: a fresh one),
  `num_gpus` (absent: 1), `requires_gpu` (true: it must not train on a CPU), `seconds` (by then it has saved a
  checkpoint, as if it were asked to stop; null or absent: no limit). Its environment is that of `training_environment`
  and nothing else; its working directory is the worker's.
- It writes one JSON object per line to the file descriptor in `TUNEBASE_EVENTS_FD`; stdout and stderr are its log.
  - `{"type":"stage","stage":…,"progress":percent}`; `training` before the first step, `evaluating` and
    `saving` after the last.
  - `{"type":"log","level":"info"|"warn"|"error","message":…}`: a line for the job's log.
  - `{"type":"resumed","step","epoch","trained_tokens"}`: it resumes from the checkpoint.
  - `{"type":"step", …a Metric…, "total_steps","trained_tokens","seconds_left","progress"}`: an optimizer step.
  - `{"type":"checkpoint","step","epoch","path","training_loss","validation_loss"}`: the directory `path` is complete
    and will not change; every file in it has a plain name. The worker uploads and removes it.
  - `{"type":"stopped","step","out_of_time"}`: the last event after a request to stop, or when `seconds` are nearly
    over; its checkpoint comes before.
  - `{"type":"result", "base_model","base_revision","rows","validation_rows","steps","first_loss","last_loss",
    "best_step","best_validation_loss","trained_tokens","trainable_parameters","versions","chat_template_sha256",
    "quantization","base_sharded","evaluation"}`: the last event of a completed training; the adapter is in `output`.
    `quantization` (what `auto` has resolved to), `base_sharded` and `evaluation` may be absent.
  - `{"type":"error","code","message","hint"}`: the last event of a failed training.
- SIGTERM asks it to save a checkpoint at the end of the current step, report it and `stopped`, and exit. A signal needs
  no listening thread, and a process that has not installed a handler yet ends by it, which is right: there is nothing
  to save. After the last step it may continue to its result. SIGKILL ends it at once.
- Exit status 0 after `result` or `stopped`; 3 after an `error` that the user can act on; anything else is a crash.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .workdir import VOLUME

TRAINER_DIR = Path(__file__).resolve().parents[2]
# The variables that training inherits from this worker's environment. No keys, URLs or secrets.
INHERITED_VARIABLES = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS",
    "TRITON_CACHE_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE",
    "TUNEBASE_EVALUATION_SECONDS", "TUNEBASE_LIGER", "TUNEBASE_MODEL_CACHE", "TUNEBASE_PACKING",
    "TUNEBASE_SAMPLE_COUNT", "TUNEBASE_SHARD_BASE_MODEL", "TUNEBASE_STACK", "TUNEBASE_CPU_DTYPE",
)  # fmt: skip
INHERITED_PREFIXES = ("NCCL_", "HF_XET_")
# Messages of libraries that have no fast kernel for this GPU or model.
SLOW = re.compile(r"falling back|fast path is not available|will be (much )?slower", re.IGNORECASE)
MAX_WARNINGS = 5


def training_command() -> list[str]:
    """The command, without its argument."""
    named = os.environ.get("TUNEBASE_TRAIN_COMMAND")
    return shlex.split(named) if named else [sys.executable, "-u", str(TRAINER_DIR / "train_lora.py")]


def training_environment(num_gpus: int | None = None) -> dict[str, str]:
    """The environment of training, without TUNEBASE_EVENTS_FD. It sees at most `num_gpus` GPUs.

    With more, transformers would split every batch across all of them, which changes the batch size.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED_VARIABLES or name.startswith(INHERITED_PREFIXES)
    }
    defaults = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if "PYTORCH_CUDA_ALLOC_CONF" not in passed:  # rows of many lengths fragment segments of a fixed size
        defaults["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    if VOLUME.is_dir():
        if "HF_HOME" not in passed:
            defaults["HF_HUB_CACHE"] = str(VOLUME / "huggingface-cache" / "hub")  # RunPod's cached models
        defaults["TRITON_CACHE_DIR"] = str(VOLUME / "tunebase" / "triton")
    if num_gpus is not None:
        visible = passed.pop("CUDA_VISIBLE_DEVICES", None)
        devices = visible.split(",") if visible is not None else [str(i) for i in range(num_gpus)]
        defaults["CUDA_VISIBLE_DEVICES"] = ",".join(devices[:num_gpus])
    return defaults | passed | {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


class TrainingProcess:
    """A running training."""

    def __init__(self, process: asyncio.subprocess.Process, events: asyncio.StreamReader) -> None:
        self._process = process
        self._events = events
        self.last_lines: deque[str] = deque(maxlen=30)
        """The end of its log."""
        self.warnings: list[str] = []
        """Lines of its log about slow fallbacks."""

    @classmethod
    async def start(cls, spec: Path, num_gpus: int) -> TrainingProcess:
        """Starts the command with SPEC in a new session."""
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *training_command(), str(spec),
                cwd=TRAINER_DIR,
                env=training_environment(num_gpus) | {"TUNEBASE_EVENTS_FD": str(write)},
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
        """Its events, until it ends."""
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
                    self._keep_warning(line.strip()[:500])

    def _keep_warning(self, line: str) -> None:
        if SLOW.search(line) and line not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(line)

    async def wait(self) -> int:
        """Its exit status; negative: the signal that killed it."""
        return await self._process.wait()

    def request_stop(self) -> None:
        """Asks it to save a checkpoint at the end of the current step and to exit."""
        try:
            self._process.send_signal(signal.SIGTERM)
        except ProcessLookupError:
            pass  # it has already exited

    async def kill(self) -> None:
        """Kills the whole group at once; unreported work is lost."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the group is gone
        await self._process.wait()
