"""Mirrors a job to a Weights & Biases run, from a separate process.

It gets the hyperparameters and each logged step, and no data. Only that process has the key (`WANDB_API_KEY`), which is
the operator's. Whatever happens to it (no key, no network, a server that never answers), training continues and the
job's log has one warning. A later attempt of the job continues the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..contract import METRICS
from .process import INHERITED_VARIABLES as PASSED_TO_TRAINING
from .process import TRAINER_DIR
from .protocol import RunInput

INHERITED_VARIABLES = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY",
    "NO_PROXY", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE",
)  # fmt: skip
assert not any(name.startswith("WANDB") for name in PASSED_TO_TRAINING), "the training must not have the key"
CLOSE_SECONDS = 5.0
"""How long it may take to finish after a training that was not preempted."""


class WandbMirror:
    """`on_log(level, message)` writes a line to the job's log."""

    def __init__(self, on_log: Callable[[str, str], None]) -> None:
        self._on_log = on_log
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._warned = False

    async def start(self, run: RunInput, directory: Path) -> None:
        """Starts it if the job asked for one. W&B writes into `directory`."""
        settings = run.hyperparameters.wandb
        if settings is None:
            return
        if not os.environ.get("WANDB_API_KEY") and os.environ.get("WANDB_MODE") != "offline":
            self._warn("this worker has no WANDB_API_KEY; the operator must set it")
            return
        wandb_directory = directory / "wandb"
        wandb_directory.mkdir()
        folders = {
            name: str(wandb_directory)
            for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__,
            cwd=TRAINER_DIR,
            env={name: os.environ[name] for name in INHERITED_VARIABLES if os.environ.get(name)} | folders,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen(self._process))
        self._send(
            {
                "id": run.job_id,
                **settings.model_dump(),
                "config": {"job_id": run.job_id, **run.hyperparameters.model_dump(exclude={"wandb", "huggingface"})},
            }
        )

    def step(self, metric: dict[str, Any]) -> None:
        """Forwards the metrics of one step."""
        self._send(
            {
                "step": metric["step"],
                "metrics": {name: metric[name] for name in METRICS if name != "step" and metric.get(name) is not None},
            }
        )

    def end(self, exit_code: int) -> None:
        """After the last step. `exit_code` 0: training did not fail."""
        self._send({"exit_code": exit_code})

    async def close(self, timeout_seconds: float) -> None:
        """Waits up to `timeout_seconds` for it to finish, then kills it. A second call does nothing."""
        process, listening = self._process, self._listening
        self._process = None
        if process is None or listening is None:
            return
        done, _ = await asyncio.wait([listening], timeout=timeout_seconds)
        if not done:
            if timeout_seconds > 0:
                self._warn("it did not answer in time")
            listening.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # with W&B's own service
        await process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            # Never drained: a run has at most some ten thousand lines, which fit in memory.
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        finished = False
        while line := await process.stdout.readline():
            try:
                reply = json.loads(line)
            except ValueError:
                continue  # the library's own output
            match reply:
                case {"url": str(url)}:
                    self._on_log("info", f"This job on Weights & Biases: {url}")
                case {"problem": str(problem)}:
                    self._warn(problem)
                case {"finished": True}:
                    finished = True
        if not finished:
            self._warn("its process exited early")

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            self._on_log("warn", f"The Weights & Biases run is incomplete: {problem}. Training is not affected.")


def main() -> None:
    """Reads the lines that `_send` writes; answers with {"url"}, {"problem"} and {"finished"}."""
    try:
        _mirror()
    except Exception as error:
        # The library's messages may contain the key, which must not get into a job's log.
        lines = str(error).replace(os.environ.get("WANDB_API_KEY") or "\0", "…").splitlines() or [""]
        print(json.dumps({"problem": f"{type(error).__name__}: {lines[0]}"[:300].rstrip(". ")}), flush=True)


def _mirror() -> None:
    import wandb

    start = json.loads(sys.stdin.readline())
    run = wandb.init(
        id=start["id"],
        resume="allow",
        project=start["project"],
        entity=start["entity"],
        name=start["name"],
        tags=start["tags"],
        config=start["config"],
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=60,
            # Nothing about this machine or its code.
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            host="tunebase",
            username="tunebase",
            program="tunebase",
        ),
    )
    if run.url:
        print(json.dumps({"url": run.url}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "exit_code" in message:
            run.finish(exit_code=message["exit_code"])
            break
        # W&B ignores a step that an earlier attempt has logged.
        run.log(message["metrics"], step=message["step"])
    print(json.dumps({"finished": True}), flush=True)


if __name__ == "__main__":
    main()
