"""SmolLM2-135M on this CPU, on rows of mixed length: our loop against plain TRL, alternating in one run.

    python -m tunebase_trainer.bench mixed

As `cpu`, but with 128 rows whose lengths are lognormal (the longest has 20 times the mean's tokens), in batches of 16.
TRL gets the rows in our order, four at a time. Both train two epochs, and the second one counts: the longest row is in
the first step of each.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from . import cpu, results
from .results import Measurement
from .side import MIXED, MIXED_ROWS

STEPS = MIXED_ROWS // MIXED.batch


def evaluate_runs(runs: dict[str, list[dict[str, Any]]], on: str) -> list[Measurement]:
    def speed(name: str) -> float:
        """Of all second epochs: their steps differ in tokens."""
        tokens = sum(run["tokens"] * STEPS for run in runs[name])
        return float(tokens / sum(sum(run["seconds"][STEPS:]) for run in runs[name]))

    ours, theirs = map(speed, cpu.SIDES)
    against = f"TRL's SFTTrainer: {theirs:.4g}"
    return [results.evaluate("trainer_mixed", ours, "tokens/s", against, ours / theirs, 2.0, on)]


def run(rounds: int) -> list[Measurement]:
    """Measures. `rounds`: of each side."""
    with tempfile.TemporaryDirectory() as directory:
        spec = Path(directory) / "spec.json"
        (Path(directory) / "rows.jsonl").write_text(cpu.conversations(16))
        spec.write_text(json.dumps({"directory": directory, "model": cpu.MODEL, "steps": STEPS, "mixed": True}))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in cpu.SIDES}
        for _ in range(rounds):
            for name in cpu.SIDES:
                runs[name].append(run := cpu.side(name, spec))
                print(f"  {name}: {run['tokens'] * STEPS / sum(run['seconds'][STEPS:]):.0f} tokens/s", flush=True)
    return evaluate_runs(runs, results.machine())
