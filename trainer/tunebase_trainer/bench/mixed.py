"""SmolLM2-135M on this CPU, on rows of mixed length: our loop against plain TRL, alternating in one run.

    python -m tunebase_trainer.bench mixed

As `cpu`, but with 128 rows whose lengths are lognormal (the longest has 20 times the mean's tokens), in batches of 16.
TRL gets the rows in our order, four at a time. Both train two epochs, and the second one counts: the longest row is in
the first step of each. Where the CPU computes in fp32, 128 rows take too long: both train one epoch of
48 rows, and all of it counts.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from . import cpu, results
from .results import Measurement


def last_epoch(run: dict[str, Any]) -> tuple[float, float]:
    """Its tokens and seconds."""
    steps = run["steps_per_epoch"]
    return run["tokens"] * steps, sum(run["seconds"][-steps:])


def evaluate_runs(runs: dict[str, list[dict[str, Any]]], on: str) -> list[Measurement]:
    def speed(name: str) -> float:
        """Of all last epochs: their steps differ in tokens."""
        tokens, seconds = zip(*map(last_epoch, runs[name]), strict=True)
        return float(sum(tokens) / sum(seconds))

    ours, theirs = map(speed, cpu.SIDES)
    against = f"TRL's SFTTrainer, both in {runs['ours'][0]['dtype']}: {theirs:.4g}"
    return [results.evaluate("trainer_mixed", ours, "tokens/s", against, ours / theirs, 4.0, on)]


def run(rounds: int) -> list[Measurement]:
    """Measures. `rounds`: of each side."""
    with tempfile.TemporaryDirectory() as directory:
        spec = Path(directory) / "spec.json"
        (Path(directory) / "rows.jsonl").write_text(cpu.conversations(16))
        spec.write_text(json.dumps({"directory": directory, "model": cpu.MODEL, "mixed": True}))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in cpu.SIDES}
        for _ in cpu.rounds_in_time(rounds):
            for name in cpu.SIDES:
                runs[name].append(run := cpu.side(name, spec))
                tokens, seconds = last_epoch(run)
                print(f"  {name}: {tokens / seconds:.0f} tokens/s", flush=True)
    return evaluate_runs(runs, results.machine())
