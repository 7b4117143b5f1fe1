"""Runs train_lora.py on the tiny model in a process of its own, or in several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tunebase_trainer.worker import process as training

from . import tiny
from .paths import TRAINER

# 22 rows in batches of 8: three steps an epoch, the last of 6 rows, which two processes share by fours.
HYPER = {
    "base_revision": None,
    "learning_rate": 1e-3,
    "batch_size": 8,
    "num_epochs": 2,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "use_rslora": False,
    "warmup_steps": None,
    "warmup_ratio": 0.05,
    "lr_schedule": "linear",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "validation_split": 0.0,
    "early_stopping_patience": 0,
    "max_length": 256,
    "seed": 7,
}


def train(
    directory: Path,
    model: Path,
    processes: int,
    *,
    stop_at: int | None = None,
    resume: str | None = None,
    checkpoint_seconds: float | None = None,
    in_new_interpreters: bool = False,
    hook: Path | None = None,
    **more: Any,
) -> tuple[int, list[dict[str, Any]], str]:
    """Runs train_lora.py; requests a stop once it has reported step `stop_at`. Returns its status, events and log.

    `hook`: a script that runs before, in each process.
    """
    directory.mkdir()
    (directory / "rows.jsonl").write_text(more.pop("rows", tiny.rows(22)))
    (directory / "validation.jsonl").write_text(more.pop("validation", tiny.rows(3)))
    spec = {
        "dataset": str(directory / "rows.jsonl"),
        "validation": str(directory / "validation.jsonl"),
        "output": str(directory / "adapter"),
        "hyperparameters": {**HYPER, "base_model": str(model), **more},
        "num_gpus": processes,
        "checkpoints": str(directory / "checkpoints"),
        "checkpoint_seconds": checkpoint_seconds,
        "resume": resume,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    read, write = os.pipe()
    environment = training.training_environment(processes) | {"TUNEBASE_EVENTS_FD": str(write), "OMP_NUM_THREADS": "1"}
    if hook is not None:
        environment["TUNEBASE_TEST_HOOK"] = str(hook)
    command = training.training_command()
    if in_new_interpreters:
        del environment["PYTHON_EXEC"]
        command = [sys.executable, "train_lora.py"]
    process = subprocess.Popen(
        [*command, str(directory / "spec.json")],
        cwd=TRAINER,
        env=environment,
        stdout=(directory / "log").open("w"),
        stderr=subprocess.STDOUT,
        pass_fds=(write,),
    )
    os.close(write)
    events = []
    with os.fdopen(read) as stream:
        for line in stream:
            events.append(json.loads(line))
            if events[-1]["type"] == "step" and events[-1]["step"] == stop_at:
                process.send_signal(signal.SIGTERM)
    return process.wait(), events, (directory / "log").read_text()


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]
