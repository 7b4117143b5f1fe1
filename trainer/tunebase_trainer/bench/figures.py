"""Figures as `bench/figures.ts` has them: judged, printed as a table, kept in `.tunebase/bench.json`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

KEPT = Path(__file__).parents[3] / ".tunebase" / "bench.json"


@dataclass(frozen=True)
class Figure:
    """`ratio` is made so that more is better, whatever `unit` is: it is ok at `goal` or above."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    goal: float
    ok: bool
    machine: str


def figure(name: str, value: float, unit: str, against: str, ratio: float, goal: float, machine: str) -> Figure:
    """A figure, judged and rounded to what a measurement is worth."""
    return Figure(name, float(f"{value:.4g}"), unit, against, float(f"{ratio:.4g}"), goal, ratio >= goal, machine)


def machine(*packages: str) -> str:
    """CPU, cores, memory, Python, and the versions of `packages`: one line."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    python = f"Python {platform.python_version()}"
    return ", ".join([cpu, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", python, *versions])


def show(figures: list[Figure]) -> None:
    """One table."""
    head = ("", "name", "value", "unit", "against", "ratio", "goal")
    rows = [
        ("ok" if f.ok else "MISSED", f.name, f"{f.value:g}", f.unit, f.against, f"{f.ratio:g}", f"{f.goal:g}")
        for f in figures
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def keep(name: str, figures: list[Figure]) -> None:
    """Puts a bench's figures in the place of its earlier ones; the other benches' stay. Nowhere without a checkout."""
    if not KEPT.parent.is_dir():
        return
    before = json.loads(KEPT.read_text()) if KEPT.exists() else []
    rows = [row for row in before if row["name"] != name] + [asdict(f) for f in figures]
    KEPT.write_text(json.dumps(rows, indent=2) + "\n")
