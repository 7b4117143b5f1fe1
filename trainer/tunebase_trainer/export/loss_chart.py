"""The loss curve of a run as SVG."""

from __future__ import annotations

from typing import Any

# The size of the image, and its margins.
WIDTH, HEIGHT = 720, 360
LEFT, TOP, RIGHT, BOTTOM = 56, 40, 16, 40
MAX_POINTS = 500
TRAINING_COLOR, VALIDATION_COLOR = "#1f6feb", "#d4691e"

Points = list[tuple[int, float]]


class Axes:
    """Maps a step and a loss to coordinates."""

    def __init__(self, points: Points) -> None:
        self.max_loss = max((loss for _, loss in points), default=1.0) or 1.0
        self.last_step = max((step for step, _ in points), default=1)

    def at(self, step: float, loss: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * step / self.last_step,
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / self.max_loss,
        )

    def grid(self) -> list[str]:
        parts = []
        for i in range(5):
            loss, step = self.max_loss * i / 4, self.last_step * i / 4
            x, y = self.at(0, loss)
            parts.append(f'<path d="M{x} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
            parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.3g}</text>')
            x, y = self.at(step, 0)
            parts.append(f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle">{step:.0f}</text>')
        return parts

    def line(self, points: Points, color: str, dots: bool) -> str:
        coordinates = [self.at(*point) for point in points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in coordinates)
        marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in coordinates if dots)
        return f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="1.5"/>{marks}'


def render_svg(steps: list[dict[str, Any]]) -> str:
    """The training loss as a line, the validation loss as a line with dots."""
    training = _points(steps, "training_loss")
    validation = _points(steps, "validation_loss")
    axes = Axes(training + validation)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        "<title>Loss by step</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *axes.grid(),
        axes.line(_thinned(training), TRAINING_COLOR, dots=False),
        f'<text x="{LEFT}" y="22" fill="{TRAINING_COLOR}">training loss</text>',
    ]
    if validation:
        parts.append(axes.line(_thinned(validation), VALIDATION_COLOR, dots=True))
        parts.append(f'<text x="{LEFT + 100}" y="22" fill="{VALIDATION_COLOR}">validation loss</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _points(steps: list[dict[str, Any]], name: str) -> Points:
    return [(step["step"], step[name]) for step in steps if step[name] is not None]


def _thinned(points: Points) -> Points:
    """At most `MAX_POINTS` over the whole run, each the mean of its neighbors."""
    size = -(-len(points) // MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)] if size > 1 else [[point] for point in points]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
