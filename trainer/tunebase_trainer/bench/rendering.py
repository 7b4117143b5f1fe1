"""Rendering and tokenizing conversations of 160 turns, against those of 20: is it linear in the turns?

python -m tunebase_trainer.bench rendering
"""

from __future__ import annotations

import json
import time
from typing import Any

from . import cpu
from .results import Measurement, evaluate

SHORT, LONG = 20, 160
SECONDS, ROUNDS = 2.0, 5
GOAL = 1 / 1.3
"""160 turns may take 1.3 times as long per turn as 20."""


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
    return [evaluate_times(*seconds)]
