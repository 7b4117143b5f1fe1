"""What a job shows on Weights & Biases, and that nothing which happens there touches the training.

The library is the real one: offline, where it writes to a file what it would send, and against servers that are not
there or never answer. Its own server is not at hand.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.attempts import ended, quick, steps  # noqa: F401 (a fixture)
from support.fake_tunebase import FakeTunebase, run_input
from support.paths import TRAINER

from handler import handler
from tunebase_trainer.worker import wandb_mirror

KEY = "k" * 40
RUN = {"project": "support", "entity": None, "name": "first", "tags": ["a"]}


async def train(tunebase: FakeTunebase, tmp_path: Path, **behave: Any) -> dict[str, Any]:
    tunebase.serve("rows.jsonl", json.dumps({"extra_files": [], **behave}).encode())
    given = {"id": "rp-1", "input": run_input(tunebase, "base", wandb=RUN)}
    return await ended(asyncio.create_task(handler(given)), tmp_path)


def warnings(tunebase: FakeTunebase) -> list[str]:
    return [event["message"] for event in tunebase.reported("events") if event["level"] == "warn"]


def test_the_run_has_the_jobs_id_settings_and_steps_and_nothing_about_the_machine(tmp_path: Path) -> None:
    lines = [
        {"id": "job-1", **RUN, "config": {"learning_rate": 0.5}},
        *({"step": step, "metrics": {"training_loss": 1 / step, "epoch": step / 10}} for step in (1, 2, 5)),
        {"exit_code": 0},
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tunebase_trainer.worker.wandb_mirror"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        env=env,
        cwd=TRAINER,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"finished": True}, done.stderr
    (file,) = tmp_path.rglob("run-job-1.wandb")
    records = read(file)
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name, list(run.tags)) == ("job-1", "support", "first", ["a"])
    assert {item.key: json.loads(item.value_json) for item in run.config.update if item.key == "learning_rate"} == {
        "learning_rate": 0.5
    }
    history = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["_step"], row["training_loss"], row["epoch"]) for row in history] == [
        (1, 1.0, 0.1), (2, 0.5, 0.2), (5, 0.2, 0.5)
    ]  # fmt: skip
    assert not [record for record in records if record.HasField("stats") or record.HasField("output_raw")]
    # As a value, not anywhere in the bytes: a host may be called "vm", which a checksum or a random ID can hold.
    values = "\n".join(map(str, records))
    assert '"job-1"' in values
    assert f'"{socket.gethostname()}"' not in values and str(Path.cwd()) not in values


def read(file: Path) -> list[Any]:
    """The records of the library's file: LevelDB's log format, after a header of seven bytes."""
    record_type: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").__dict__["Record"]
    data, place, records, whole = file.read_bytes(), 7, [], b""
    while len(data) - place >= 7:
        if (room := 2**15 - place % 2**15) < 7:
            place += room  # no record begins in the last six bytes of a block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last part
            records.append(record_type.FromString(whole))
            whole = b""
    return records


async def test_a_job_with_a_run_trains_and_leaves_nothing_behind(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("tunebase_trainer.worker.training_events.CLOSE_SECONDS", 60.0)
    output = await train(tunebase, tmp_path)
    assert output["status"] == "completed" and steps(tunebase) == list(range(1, 11))
    assert warnings(tunebase) == []


async def test_without_a_key_there_is_one_warning(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert (await train(tunebase, tmp_path))["status"] == "completed"
    (warning,) = warnings(tunebase)
    assert "no WANDB_API_KEY" in warning and "Training is not affected" in warning


@pytest.mark.parametrize("server", ["closed", "silent"])
async def test_an_unreachable_or_silent_server_is_one_warning_and_the_key_stays_secret(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        if server == "silent":
            there.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{there.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        output = await train(tunebase, tmp_path)
        took = time.monotonic() - began
    assert output["status"] == "completed" and steps(tunebase) == list(range(1, 11))
    assert took < wandb_mirror.CLOSE_SECONDS + 15, "the library itself would have tried for a minute"
    (warning,) = warnings(tunebase)
    assert "Training is not affected" in warning
    assert KEY not in json.dumps([body for _, body in tunebase.calls])


async def test_a_training_that_fails_fails_with_its_own_error(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    fail = {"code": "non_finite_loss", "message": "It diverged.", "hint": "Less."}
    output = await train(tunebase, tmp_path, fail=fail)
    assert (output["status"], output["error_code"]) == ("failed", "non_finite_loss")
