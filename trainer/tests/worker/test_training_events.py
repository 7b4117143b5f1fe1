"""How a training ends, and what of its log reaches the job's."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support.attempts import ended, quick  # noqa: F401 (a fixture)
from support.fake_tunebase import FakeTunebase, run_input

from handler import handler


async def run(tunebase: FakeTunebase, tmp_path: Path, **behave: Any) -> dict[str, Any]:
    tunebase.serve("rows.jsonl", json.dumps({"steps": 2, **behave}).encode())
    attempt = asyncio.create_task(handler({"id": "rp-1", "input": run_input(tunebase, "base")}))
    return await ended(attempt, tmp_path)


async def test_a_training_that_sigterm_ends_after_its_result_has_succeeded(
    tunebase: FakeTunebase, tmp_path: Path
) -> None:
    output = await run(tunebase, tmp_path, ends_by=signal.SIGTERM)
    assert output["status"] == "completed", output


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_training_that_crashes_after_its_result_has_failed(
    tunebase: FakeTunebase, tmp_path: Path, by: int
) -> None:
    output = await run(tunebase, tmp_path, ends_by=by)
    assert output["error_code"] == "trainer_killed", output


async def test_slow_kernels_are_warnings_of_a_job_that_succeeds(tunebase: FakeTunebase, tmp_path: Path) -> None:
    slow = "/opt/venv/lib/fla/ops.py:7: The fast path is not available. Falling back to torch. hf_abcdefghijk"
    await run(tunebase, tmp_path, prints=["Loading weights: 100%", slow, slow])
    warnings = [event["message"] for event in tunebase.reported("events") if event["level"] == "warn"]
    assert warnings == ["ops.py:7: The fast path is not available. Falling back to torch. [secret]"]
