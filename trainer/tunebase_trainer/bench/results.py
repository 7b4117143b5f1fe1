"""Bench results, in the same format and file as the server's benches (`bench/results.ts`)."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[3] / ".tunebase" / "bench.json"


@dataclass(frozen=True)
class Measurement:
    """One result. `ratio` is defined so that higher is better, whatever the `unit`: it is ok at `goal` or above."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    goal: float
    ok: bool
    machine: str


def evaluate(
    name: str, value: float, unit: str, against: str, ratio: float, goal: float, on: str | None = None
) -> Measurement:
    """Rounds to four digits. `on`: the machine, if it has been described already."""
    rounded, wanted = float(f"{ratio:.4g}"), float(f"{goal:.4g}")
    return Measurement(name, float(f"{value:.4g}"), unit, against, rounded, wanted, ratio >= goal, on or machine())


def format_line(measurement: Measurement) -> str:
    verdict = "ok    " if measurement.ok else "MISSED"
    return (
        f"{verdict} {measurement.name:<21} {measurement.value:g} {measurement.unit}, against {measurement.against}: "
        f"ratio {measurement.ratio:g}, goal {measurement.goal:g}"
    )


def save(path: Path, measurements: list[Measurement]) -> None:
    """Replaces earlier results of the same names; keeps all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    names = {measurement.name for measurement in measurements}
    rows = [row for row in before if row["name"] not in names] + [asdict(measurement) for measurement in measurements]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def machine() -> str:
    """The GPU if there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, CUDA {torch.version.cuda}"
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [row.partition(":")[2].strip() for row in info.read_text().splitlines() if row.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} × {model}, {platform.system()}"
