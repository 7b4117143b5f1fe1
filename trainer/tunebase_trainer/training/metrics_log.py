"""The logged steps of a run, those of earlier workers too, and their picture. The job's result file is their table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract import METRICS


class MetricsLog:
    """Stands between the training and who hears its events, and remembers the steps."""

    def __init__(self, emit: Callable[..., None], resumed_from: Path | None) -> None:
        """`resumed_from`: the checkpoint's directory, in which transformers keeps what was logged before."""
        self._emit = emit
        self._steps: dict[int, dict[str, Any]] = {}
        if resumed_from is not None:
            self._remember(json.loads((resumed_from / "trainer_state.json").read_text())["log_history"])

    def emit(self, kind: str, **fields: Any) -> None:
        if kind == "step":
            self._steps[fields["step"]] = {name: fields.get(name) for name in METRICS}
        self._emit(kind, **fields)

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [self._steps[step] for step in sorted(self._steps)]

    def _remember(self, logged: list[dict[str, Any]]) -> None:
        for entry in logged:
            step = self._steps.setdefault(entry["step"], dict.fromkeys(METRICS) | {"step": entry["step"]})
            for name, theirs in (
                ("epoch", "epoch"),
                ("training_loss", "loss"),
                ("validation_loss", "eval_loss"),
                ("learning_rate", "learning_rate"),
                ("gradient_norm", "grad_norm"),
            ):
                if theirs in entry:
                    step[name] = float(entry[theirs])


# The picture's size, and its reward_margins: left, top, right, bottom.
WIDTH, HEIGHT = 720, 360
LEFT, TOP, RIGHT, BOTTOM = 56, 40, 16, 40
MAX_POINTS = 500


def as_svg(steps: list[dict[str, Any]]) -> str:
    """The training loss as a line, the validation loss as a line with dots."""
    training = _points(steps, "training_loss")
    validation = _points(steps, "validation_loss")
    known = [loss for _, loss in training + validation]
    high = max(known, default=1.0) or 1.0
    last = max((step for step, _ in training + validation), default=1)

    def at(step: float, loss: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * step / last,
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / high,
        )

    def line(points: list[tuple[int, float]], color: str, dots: bool) -> str:
        places = [at(*point) for point in points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places if dots)
        return f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="1.5"/>{marks}'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        "<title>Loss by step</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for i in range(5):
        x, y = at(0, high * i / 4)
        parts.append(f'<path d="M{x} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{high * i / 4:.3g}</text>')
        x, y = at(last * i / 4, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle">{last * i / 4:.0f}</text>')
    parts += [
        line(_thinned(training), "#1f6feb", dots=False),
        line(_thinned(validation), "#d4691e", dots=True) if validation else "",
        f'<text x="{LEFT}" y="22" fill="#1f6feb">training loss</text>',
        f'<text x="{LEFT + 100}" y="22" fill="#d4691e">validation loss</text>' if validation else "",
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step</text>',
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _points(steps: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(step["step"], step[name]) for step in steps if step[name] is not None]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points, over the whole run, each the mean of those around it."""
    size = -(-len(points) // MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)] if size > 1 else [[point] for point in points]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
