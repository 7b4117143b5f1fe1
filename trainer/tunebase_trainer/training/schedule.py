"""Values derived from the hyperparameters and the data: micro-batches, steps, warmup, and the run's identity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..contract import MICRO_BATCH_TOKENS
from ..data.dataset import Dataset
from ..model import distributed
from ..text import counted
from ..versions import library_versions

CPU_MICRO_BATCH_TOKENS = 4096
"""The maximum tokens per micro-batch on a CPU."""


@dataclass(frozen=True)
class Schedule:
    micro_batch_tokens: int
    """Including padding."""
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    eval_steps: int | None
    """Steps between two validations; the last step is also validated. None: there are no validation rows."""


AUTOMATIC_VALIDATIONS = 10
# Automatic validations process at most one token per this many training tokens.
TRAINING_TOKENS_PER_VALIDATED = 2


def automatic_eval_steps(total_steps: int, epochs: int, training_tokens: int, validation_tokens: int) -> int:
    """About ten validations per run; `_shared/contracts/eval_schedule.ts` computes the same."""
    affordable = training_tokens // (TRAINING_TOKENS_PER_VALIDATED * max(1, validation_tokens))
    validations = max(epochs, min(AUTOMATIC_VALIDATIONS, affordable))
    return max(1, math.floor(total_steps / validations + 0.5))


def make_schedule(
    hyper: dict[str, Any], data: Dataset, validation: Dataset | None, micro_batch_tokens: int | None = None
) -> Schedule:
    """`micro_batch_tokens`: the number that fits on the GPUs, if known."""
    steps_per_epoch = math.ceil(len(data.rows) / hyper["batch_size"])
    total_steps = steps_per_epoch * hyper["num_epochs"]
    warmup_steps = hyper["warmup_steps"]
    if warmup_steps is None:
        warmup_steps = math.ceil(total_steps * hyper["warmup_ratio"])
    eval_steps = hyper.get("eval_steps")
    if validation is None:
        eval_steps = None
    elif eval_steps is None:
        training_tokens = data.tokens * hyper["num_epochs"]
        eval_steps = automatic_eval_steps(total_steps, hyper["num_epochs"], training_tokens, validation.tokens)
    largest = MICRO_BATCH_TOKENS if torch.cuda.is_available() else CPU_MICRO_BATCH_TOKENS
    return Schedule(
        micro_batch_tokens=micro_batch_tokens or largest,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=min(warmup_steps, total_steps - 1),  # the first warmup step has rate 0: there must be another
        eval_steps=eval_steps,
    )


def describe_run(hyper: dict[str, Any], data: Dataset, schedule: Schedule, trainable: int) -> str:
    micro_batches = f"micro-batches of up to {schedule.micro_batch_tokens} tokens"
    method = f"Method dpo, beta {hyper['beta']:g}; " if hyper.get("method") == "dpo" else ""
    on_each = f" on each of {distributed.world_size()} GPUs" if distributed.is_distributed() else ""
    validated = ""
    if schedule.eval_steps is not None:
        validated = "; validation every " + ("step" if schedule.eval_steps == 1 else f"{schedule.eval_steps} steps")
    epochs, steps = counted(hyper["num_epochs"], "epoch"), counted(schedule.steps_per_epoch, "step")
    return (
        f"{method}{data.describe()}; {epochs} of {steps} "
        f"with batch_size {hyper['batch_size']} ({micro_batches}{on_each}){validated}; "
        f"{trainable:,} trainable parameters; learning rate {hyper['learning_rate']:g} after "
        f"{counted(schedule.warmup_steps, 'warmup step')}, then {hyper['lr_schedule']} to 0."
    )


def run_identity(hyper: dict[str, Any], data: Dataset, schedule: Schedule) -> dict[str, Any]:
    """The values that must be unchanged for a checkpoint to be usable."""
    versions = library_versions()
    return {
        "hyperparameters": hyper,
        "rows": len(data.rows),
        "steps": schedule.total_steps,
        "gpus": distributed.world_size(),
        "versions": {name: versions[name] for name in ("transformers", "peft")},
    }
