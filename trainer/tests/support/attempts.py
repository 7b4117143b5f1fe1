"""Attempts through the handler with the stub training."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tunebase_trainer.worker import adapter_upload, callback_client, checkpoint_upload

from .fake_tunebase import SCHEMAS, FakeTunebase
from .paths import SUPPORT


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = SUPPORT / "stub_training.py"
    monkeypatch.setenv("TUNEBASE_TRAIN_COMMAND", f"'{sys.executable}' -u '{stub}'")
    monkeypatch.setattr(callback_client, "MAX_RETRY_SECONDS", 0.2)
    monkeypatch.setattr("tunebase_trainer.worker.attempt.FINISH_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(adapter_upload, "FINISH_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(checkpoint_upload, "TIMEOUT_SECONDS", 2.0)


async def ended(attempt: asyncio.Task[dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """The attempt's output, which fits the protocol; nothing is left of its work."""
    output = await asyncio.wait_for(attempt, 200)
    jsonschema.Draft202012Validator(SCHEMAS["HandlerOutput"]).validate(output)
    assert not list((tmp_path / "work").iterdir())
    return output


def steps(tunebase: FakeTunebase) -> list[int]:
    return [metric["step"] for metric in tunebase.reported("metrics")]
