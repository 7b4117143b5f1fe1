"""Collects the logged steps of a run, including those of earlier workers, for the job's result file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract import METRICS

# The names of values that transformers logs.
LOGGED_NAMES = (
    ("epoch", "epoch"),
    ("training_loss", "loss"),
    ("validation_loss", "eval_loss"),
    ("learning_rate", "learning_rate"),
    ("gradient_norm", "grad_norm"),
)


class MetricsLog:
    """Forwards training events, and records the steps."""

    def __init__(self, emit: Callable[..., None], resumed_from: Path | None) -> None:
        """`resumed_from`: the checkpoint's directory, where transformers stores earlier log entries."""
        self._emit = emit
        self._steps: dict[int, dict[str, Any]] = {}
        if resumed_from is not None:
            self._load(json.loads((resumed_from / "trainer_state.json").read_text())["log_history"])

    def emit(self, kind: str, **fields: Any) -> None:
        if kind == "step":
            self._steps[fields["step"]] = {name: fields.get(name) for name in METRICS}
        self._emit(kind, **fields)

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [self._steps[step] for step in sorted(self._steps)]

    def _load(self, logged: list[dict[str, Any]]) -> None:
        for entry in logged:
            step = self._steps.setdefault(entry["step"], dict.fromkeys(METRICS) | {"step": entry["step"]})
            for name, logged_name in LOGGED_NAMES:
                if logged_name in entry:
                    step[name] = float(entry[logged_name])
