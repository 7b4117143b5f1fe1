"""Rendering and tokenizing conversations of 160 turns, against those of 20: is it linear in the turns?

Then a file large enough for several processes, against one process; both must yield the same rows in the same order.

python -m tunebase_trainer.bench rendering
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cpu
from .results import Measurement, evaluate, machine
from .side import LENGTH

if TYPE_CHECKING:
    from ..data.rendered_rows import RenderedRow
    from ..data.rendering import Renderer

SHORT, LONG = 20, 160
SECONDS, ROUNDS = 2.0, 5
GOAL = 1 / 1.3
"""160 turns may take 1.3 times as long per turn as 20."""
PARALLEL_ROUNDS = 2
PARALLEL_GOAL = 0.6
"""Speedup per process: two hyperthreads of one core, or a shared cache, allow no more."""


def make_conversation(turns: int) -> Any:
    """Of `turns` turns of the example data; every answer is learned."""
    from ..data.rows import conversation

    rows = [json.loads(line)["messages"] for line in cpu.EXAMPLES.read_text().splitlines()]
    said = [message for row in rows for message in row if message["role"] != "system"]
    return conversation({"messages": [said[n % len(said)] for n in range(turns)]})


def evaluate_times(short: list[float], long: list[float], on: str | None = None) -> Measurement:
    """From the seconds per conversation, of each round: the best counts, as whatever else runs only adds to it."""
    few, many = min(short), min(long)
    against = f"{SHORT} turns: {1 / few:.4g}/s"
    unit = f"conversations/s of {LONG} turns"
    return evaluate("rendering", 1 / many, unit, against, LONG / SHORT * few / many, GOAL, on)


def run() -> list[Measurement]:
    from transformers import AutoTokenizer

    from ..data.rendering import Renderer
    from ..model import base_model

    on = machine()
    renderer = Renderer(AutoTokenizer.from_pretrained(base_model.resolve(cpu.MODEL).path))
    conversations = [make_conversation(turns) for turns in (SHORT, LONG)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for conversation, taken in zip(conversations, seconds, strict=True):
            began, count = time.monotonic(), 0
            while time.monotonic() - began < SECONDS:
                renderer.rows(conversation, 1_000_000)
                count += 1
            taken.append((time.monotonic() - began) / count)
            print(f"  {len(conversation.messages)} turns: {count} conversations", flush=True)
    return [evaluate_times(*seconds, on), *measure_parallel(renderer, on)]


def evaluate_parallel(rows: int, serial: list[float], parallel: list[float], processes: int, on: str) -> Measurement:
    """From the seconds of each round; the best counts."""
    alone, together = min(serial), min(parallel)
    against = f"one process, the same rows: {rows / alone:.4g}/s"
    unit = f"rows/s with {processes} processes"
    ratio = alone / together
    return evaluate("rendering_parallel", rows / together, unit, against, ratio, PARALLEL_GOAL * processes, on)


def measure_parallel(renderer: Renderer, on: str) -> list[Measurement]:
    """Nothing on a machine with one core, which has no pool."""
    from ..data.rendered_rows import PARALLEL_BYTES, processes_for

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rows.jsonl"
        text = cpu.conversations(1000) + "\n"
        file.write_text(text * (PARALLEL_BYTES // len(text.encode()) + 1))
        processes = processes_for(file)
        if processes == 1:
            print("  rendering_parallel: this machine has one core", flush=True)
            return []
        seconds: dict[int, list[float]] = {1: [], processes: []}
        count = 0
        for _ in range(PARALLEL_ROUNDS):
            rendered = []
            for number, taken in seconds.items():
                rows, elapsed = time_rendering(renderer, file, number)
                rendered.append(rows)
                taken.append(elapsed)
                print(f"  {number} processes: {len(rows)} rows in {elapsed:.1f} s", flush=True)
            if rendered[0] != rendered[1]:
                raise SystemExit("The processes of the pool rendered other rows than one process.")
            count = len(rendered[0])
    return [evaluate_parallel(count, seconds[1], seconds[processes], processes, on)]


def time_rendering(renderer: Renderer, file: Path, processes: int) -> tuple[list[RenderedRow], float]:
    from ..data.rendered_rows import render_rows

    began = time.monotonic()
    rows = list(render_rows(renderer, file, LENGTH, processes))
    return rows, time.monotonic() - began
