"""A run of Weights & Biases that shows what a job does, from a process of its own.

It gets the hyperparameters and each logged step, nothing of the data. The key (`WANDB_API_KEY`) is the operator's, and
known to that process alone. Whatever happens to it (no key, no network, a server that never answers), training goes on
and the job's log has one warning. A later attempt of the job goes on in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ..contract import METRICS
from .process import INHERITED_VARIABLES as PASSED_TO_TRAINING
from .process import TRAINER_DIR
from .protocol import RunInput

Level = Literal["info", "warn"]
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY",
        "NO_PROXY", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE")  # fmt: skip
assert not any(name.startswith("WANDB") for name in PASSED_TO_TRAINING), "the training does not know the key"
PATIENCE = 5.0
"""How many seconds it has to finish when the training is over and the platform does not press."""


class WandbMirror:
    """`say(level, message)` writes a line of the job's log."""

    def __init__(self, say: Any) -> None:
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._warned = False

    async def start(self, run: RunInput, directory: Path) -> None:
        """Starts it if the job asked for one. What W&B writes goes below `directory`."""
        asked = run.hyperparameters.wandb
        if asked is None:
            return
        if not os.environ.get("WANDB_API_KEY") and os.environ.get("WANDB_MODE") != "offline":
            self._warn("this worker has no WANDB_API_KEY; its operator must set it")
            return
        place = directory / "wandb"
        place.mkdir()
        folders = {name: str(place) for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__,
            cwd=TRAINER_DIR,
            env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ} | folders,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen(self._process))
        self._emit(
            {
                "id": run.job_id,
                **asked.model_dump(),
                "config": {"job_id": run.job_id, **run.hyperparameters.model_dump(exclude={"wandb"})},
            }
        )

    def step(self, metric: dict[str, Any]) -> None:
        """A step of the training, with its metrics."""
        self._emit(
            {
                "step": metric["step"],
                "metrics": {name: metric[name] for name in METRICS if name != "step" and metric.get(name) is not None},
            }
        )

    def end(self, exit_code: int) -> None:
        """No step follows. 0: the training did not fail."""
        self._emit({"exit_code": exit_code})

    async def close(self, patience: float) -> None:
        """Waits so many seconds for it to finish, and ends it; again, it does nothing."""
        process, listening = self._process, self._listening
        self._process = None
        if process is None or listening is None:
            return
        done, _ = await asyncio.wait([listening], timeout=patience)
        if not done:
            if patience > 0:
                self._warn("it did not answer in time")
            listening.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # with W&B's own service
        await process.wait()

    def _emit(self, message: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            # Never waited for: a run has some ten thousand lines at the most, and they fit in memory.
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        finished = False
        while line := await process.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # a library's own words
            match said:
                case {"url": str(url)}:
                    self._say("info", f"Weights & Biases shows this job at {url}")
                case {"problem": str(problem)}:
                    self._warn(problem)
                case {"finished": True}:
                    finished = True
        if not finished:
            self._warn("its process ended early")

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            self._say("warn", f"Weights & Biases does not get all of this job: {problem}. Training is not affected.")


def main() -> None:
    """Reads lines as `_tell` writes them; answers {"url"}, {"problem"} and {"finished"}."""
    try:
        _mirror()
    except Exception as error:
        # The library's messages name addresses and reasons; the key, if one did, must not get into a job's log.
        lines = str(error).replace(os.environ.get("WANDB_API_KEY") or "\0", "…").splitlines() or [""]
        print(json.dumps({"problem": f"{type(error).__name__}: {lines[0]}"[:300].rstrip(". ")}), flush=True)


def _mirror() -> None:
    import wandb

    asked = json.loads(sys.stdin.readline())
    run = wandb.init(
        id=asked["id"],
        resume="allow",
        project=asked["project"],
        entity=asked["entity"],
        name=asked["name"],
        tags=asked["tags"],
        config=asked["config"],
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=60,
            # Of this machine and its code nothing is told.
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
        # A step that an earlier attempt has told already is left out by W&B.
        run.log(message["metrics"], step=message["step"])
    print(json.dumps({"finished": True}), flush=True)


if __name__ == "__main__":
    main()
