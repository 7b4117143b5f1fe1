"""What follows from the hyperparameters and the data: micro-batches, steps, warmup, and the run's identity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..contract import MICRO_BATCH_TOKENS
from ..data.batches import choose_micro_batch_size
from ..data.dataset import Dataset
from ..model import distributed
from ..text import counted
from ..versions import library_versions

CPU_MICRO_BATCH_TOKENS = 4096
"""Micro-batches of a CPU hold at most this many tokens."""


@dataclass(frozen=True)
class Schedule:
    micro_batch_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int


def make_schedule(hyper: dict[str, Any], data: Dataset) -> Schedule:
    tokens_per_example = max(row.length for row in data.rows) * len(data.rows[0].sequences)
    steps_per_epoch = math.ceil(len(data.rows) / hyper["batch_size"])
    total_steps = steps_per_epoch * hyper["num_epochs"]
    warmup_steps = hyper["warmup_steps"]
    if warmup_steps is None:
        warmup_steps = math.ceil(total_steps * hyper["warmup_ratio"])
    return Schedule(
        micro_batch_size=choose_micro_batch_size(
            hyper["batch_size"] // distributed.world_size(),
            tokens_per_example,
            MICRO_BATCH_TOKENS if torch.cuda.is_available() else CPU_MICRO_BATCH_TOKENS,
        ),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
    )


def describe_run(hyper: dict[str, Any], data: Dataset, schedule: Schedule, trainable: int) -> str:
    method = f"Method dpo, beta {hyper['beta']:g}; " if hyper.get("method") == "dpo" else ""
    on_each = f" on each of {distributed.world_size()} GPUs" if distributed.is_distributed() else ""
    epochs, steps = counted(hyper["num_epochs"], "epoch"), counted(schedule.steps_per_epoch, "step")
    return (
        f"{method}{data.describe()}; {epochs} of {steps} "
        f"with batch_size {hyper['batch_size']} (micro-batch {schedule.micro_batch_size}{on_each}); "
        f"{trainable:,} trainable parameters; learning rate {hyper['learning_rate']:g} after "
        f"{counted(schedule.warmup_steps, 'warmup step')}, then {hyper['lr_schedule']} to 0."
    )


def run_identity(hyper: dict[str, Any], data: Dataset, schedule: Schedule) -> dict[str, Any]:
    """What must be unchanged for a checkpoint to be usable."""
    versions = library_versions()
    return {
        "hyperparameters": hyper,
        "rows": len(data.rows),
        "steps": schedule.total_steps,
        "gpus": distributed.world_size(),
        "versions": {name: versions[name] for name in ("transformers", "peft")},
    }
