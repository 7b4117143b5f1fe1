"""A fake of trainer/train_lora.py for tests with many jobs and no GPU; called through TUNEBASE_TRAIN_COMMAND.

It emits the events that `tunebase_trainer/worker/process.py` describes, and "trains" a chain of hashes: the state
after step n is the SHA-256 of the state before and n. So the adapter tells whether each step was trained exactly once,
in order, through every checkpoint and resume. `num_epochs` steps are ten times as many; each takes 0.2 s.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

STEP_SECONDS = 0.2
asked_to_stop = False


def main(spec_path: str) -> None:
    spec = json.loads(Path(spec_path).read_text())
    events = os.fdopen(int(os.environ["TUNEBASE_EVENTS_FD"]), "w", buffering=1)

    def tell(kind: str, **fields: Any) -> None:
        events.write(json.dumps({"type": kind, **fields}) + "\n")

    def ask(*_: Any) -> None:
        global asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, ask)
    rows = len(Path(spec["dataset"]).read_text().splitlines())
    total = 10 * spec["hyperparameters"]["num_epochs"]
    step, state = 0, spec["hyperparameters"]["seed"].to_bytes(8, "big").hex()
    if spec["resume"]:
        saved = json.loads((Path(spec["resume"]) / "state.json").read_text())
        step, state = saved["step"], saved["state"]
        tell("resumed", step=step, epoch=step / 10, trained_tokens=step * 100)
        tell("log", level="info", message=f"Resuming from the checkpoint of step {step}.")

    tell("stage", stage="training", progress=10)
    last_saved = time.monotonic()
    while step < total:
        time.sleep(STEP_SECONDS)
        step += 1
        state = hashlib.sha256(f"{state} {step}".encode()).hexdigest()
        tell(
            "step", step=step, epoch=step / 10, training_loss=1 / step, validation_loss=None, learning_rate=1e-4,
            gradient_norm=1.0, tokens_per_second=500.0, gpu_utilization=None, gpu_memory_gb=None, total_steps=total,
            trained_tokens=step * 100, seconds_left=(total - step) * STEP_SECONDS, progress=10 + 80 * step / total,
        )  # fmt: skip
        due = spec["checkpoint_seconds"] is not None and time.monotonic() - last_saved >= spec["checkpoint_seconds"]
        if step < total and (due or asked_to_stop):
            place = Path(spec["checkpoints"]) / f"step-{step}"
            place.mkdir(parents=True)
            (place / "state.json").write_text(json.dumps({"step": step, "state": state}))
            tell(
                "checkpoint", step=step, epoch=step / 10, path=str(place), training_loss=1 / step, validation_loss=None
            )
            last_saved = time.monotonic()
        if step < total and asked_to_stop:
            tell("stopped", step=step)
            return

    tell("stage", stage="saving", progress=93)
    output = Path(spec["output"])
    output.mkdir(parents=True, exist_ok=True)
    (output / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (output / "adapter_model.safetensors").write_text(state)
    tell(
        "result", base_model=spec["hyperparameters"]["base_model"],
        base_revision=spec["hyperparameters"]["base_revision"], rows=rows, steps=total, first_loss=1.0,
        last_loss=1 / total, trained_tokens=total * 100, trainable_parameters=1, versions={},
    )  # fmt: skip


if __name__ == "__main__":
    # As the real one: a worker that is killed takes its training along.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    main(sys.argv[1])
