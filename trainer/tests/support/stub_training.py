"""A fake of train_lora.py: it keeps the contract in worker/process.py, learns nothing, and starts immediately.

    python stub_training.py SPEC.json

The first line of its dataset says how it behaves: {"steps": 10, "seconds": 0.05, "deaf": false, "before": 0,
"extra_files": []}: the number of steps, seconds per step, whether it ignores SIGTERM, seconds before the first step,
names of files next to the adapter. "prints": lines of its log. "ends_by": the signal that ends it after its result.
"fail": the error of its first step; "crash": what it logs before it crashes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

EVENTS = os.fdopen(int(os.environ["TUNEBASE_EVENTS_FD"]), "w", buffering=1)
asked = False


def emit(kind: str, **fields: Any) -> None:
    EVENTS.write(json.dumps({"type": kind, **fields}) + "\n")


def hear(number: int, frame: Any) -> None:
    global asked
    asked = True


def main() -> None:
    began = time.monotonic()
    spec = json.loads(Path(sys.argv[1]).read_text())
    behave = {
        "steps": 10,
        "seconds": 0.05,
        "deaf": False,
        "before": 0,
        "extra_files": [],
        "prints": [],
        "ends_by": None,
        "fail": None,
        "crash": None,
    } | json.loads(Path(spec["dataset"]).read_text().splitlines()[0])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behave["deaf"] else hear)
    for line in behave["prints"]:
        print(line, file=sys.stderr, flush=True)
    emit("stage", stage="preparing", progress=3)
    step = 0
    if spec["resume"] is not None:
        step = json.loads((Path(spec["resume"]) / "state.json").read_text())["step"]
        emit("resumed", step=step, epoch=step / 10, trained_tokens=100 * step)
    time.sleep(behave["before"])
    emit("stage", stage="training", progress=10)
    saved = time.monotonic()
    while step < behave["steps"]:
        time.sleep(behave["seconds"])
        step += 1
        if behave["crash"] is not None:
            print(behave["crash"], file=sys.stderr, flush=True)
            sys.exit(1)
        if behave["fail"] is not None:
            emit("error", **behave["fail"])
            sys.exit(3)
        metric = {"step": step, "epoch": step / 10, "training_loss": 1 / step, "gradient_norm": 1.0}
        progress = {"total_steps": behave["steps"], "trained_tokens": 100 * step, "seconds_left": 1.0}
        emit("step", **metric, **progress, progress=10 + 82 * step / behave["steps"])
        out_of_time = spec["seconds"] is not None and time.monotonic() - began >= spec["seconds"]
        due = spec["checkpoint_seconds"] is not None and time.monotonic() - saved >= spec["checkpoint_seconds"]
        if step < behave["steps"] and (asked or due or out_of_time):
            directory = Path(spec["checkpoints"]) / f"checkpoint-{step}"
            directory.mkdir(parents=True)
            (directory / "state.json").write_text(json.dumps({"step": step}))
            (directory / "adapter_model.safetensors").write_bytes(b"weights" * 20_000)
            saved = time.monotonic()
            losses = {"training_loss": 1 / step, "validation_loss": None}
            emit("checkpoint", step=step, epoch=step / 10, path=str(directory), **losses)
            if asked or out_of_time:
                emit("stopped", step=step, out_of_time=out_of_time)
                return
    emit("stage", stage="saving", progress=93)
    output = Path(spec["output"])
    output.mkdir()
    (output / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (output / "adapter_model.safetensors").write_bytes(b"weights" * 30_000)
    for name in behave["extra_files"]:
        (output / name).write_text("more")
    emit(
        "result",
        base_model=spec["hyperparameters"]["base_model"],
        base_revision=None,
        rows=1,
        steps=step,
        first_loss=1.0,
        last_loss=1 / step,
        trained_tokens=100 * step,
        trainable_parameters=10,
        versions={"stub": "1"},
    )
    if behave["ends_by"] is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), behave["ends_by"])


if __name__ == "__main__":
    main()
