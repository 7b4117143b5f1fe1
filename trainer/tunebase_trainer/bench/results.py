"""What a bench finds, in the form of the server's benches (`bench/results.ts`), in the same file."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[3] / ".tunebase" / "bench.json"


@dataclass(frozen=True)
class Figure:
    """One figure. `ratio` is made so that more is better, whatever `unit` is: it is ok at `goal` or above."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    goal: float
    ok: bool
    machine: str


def judge(name: str, value: float, unit: str, against: str, ratio: float, goal: float, on: str | None = None) -> Figure:
    """Rounds to what a measurement is worth. `on`: the machine, if it is described already."""
    rounded, wanted = float(f"{ratio:.4g}"), float(f"{goal:.4g}")
    return Figure(name, float(f"{value:.4g}"), unit, against, rounded, wanted, ratio >= goal, on or machine())


def line(figure: Figure) -> str:
    said = "ok    " if figure.ok else "MISSED"
    return (
        f"{said} {figure.name:<21} {figure.value:g} {figure.unit}, against {figure.against}: "
        f"ratio {figure.ratio:g}, goal {figure.goal:g}"
    )


def keep(path: Path, figures: list[Figure]) -> None:
    """Puts figures in the place of earlier ones of their names; others' stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    names = {figure.name for figure in figures}
    rows = [row for row in before if row["name"] not in names] + [asdict(figure) for figure in figures]
    path.write_text(json.dumps(rows, indent=2) + "\n")


def machine() -> str:
    """The GPU where there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, CUDA {torch.version.cuda}"
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [row.partition(":")[2].strip() for row in info.read_text().splitlines() if row.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} × {model}, {platform.system()}"
