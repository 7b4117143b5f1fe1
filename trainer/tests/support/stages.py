"""Measures the stages of a run: seconds and peak GPU memory, as a table at the end of the tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

MIB = 2**20


@dataclass(frozen=True)
class Stage:
    name: str
    seconds: float
    peak: int | None
    """Bytes of GPU memory, those allocated before included; None on a CPU."""


MEASURED: list[Stage] = []
"""Of this process, in order."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measures what runs inside, until the GPU has finished it."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    yield
    if on_gpu:
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    MEASURED.append(Stage(name, time.monotonic() - began, peak))


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"


def table(stages: list[Stage]) -> str:
    width = max(len(stage.name) for stage in stages)
    lines = [f"{'stage':<{width}}  {'seconds':>8}  {'peak MiB':>9}"]
    for stage in stages:
        peak = "–" if stage.peak is None else f"{stage.peak / MIB:.0f}"
        lines.append(f"{stage.name:<{width}}  {stage.seconds:>8.2f}  {peak:>9}")
    return "\n".join(lines)
