"""When a training saves a checkpoint: transformers' own, and beside it what a resumed run must know (`kept.py`).

A resumed run makes the steps that the uninterrupted one would have made. What that needs beyond transformers' own
state: an order of rows that depends on the epoch alone (`LengthGroupedSampler`), a logging window that ends where a checkpoint is
saved, and no save between an epoch's last step and its validation.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..model import distributed
from ..model.lora import set_base_model_name
from .checkpoint_state import REFERENCE_FILE, TrainingState, save_state
from .early_stopping import BestAdapterCallback

# Not needed to go on, and training_args.bin is a pickle of anything.
UNNEEDED = ("README.md", "training_args.bin")


class Stopped(Exception):
    """The training was asked to stop, or its time is nearly over; it has saved a checkpoint after `step`."""

    def __init__(self, step: int, out_of_time: bool) -> None:
        super().__init__(step)
        self.step, self.out_of_time = step, out_of_time


@dataclass(frozen=True)
class Plan:
    """How far the training goes, when it saves, and what it says of that."""

    seconds: float
    """Save about this often; infinity: only when asked to stop."""
    stop_requested: Callable[[], bool]
    deadline: float
    """On time.monotonic's clock: before it a checkpoint must have been saved; infinity: there is none."""
    total_steps: int
    steps_per_epoch: int
    total_tokens: int
    """Of all epochs."""
    run: dict[str, Any]
    base: tuple[str, str | None]
    """The base model's public name and revision, for the adapter's config."""
    emit: Callable[..., None]


class Checkpoints(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Has the Trainer save at a step's end when it is time, tells it, and stops the run if that was asked."""

    def __init__(
        self,
        plan: Plan,
        counts: Callable[[], TrainingState],
        validated: Callable[[], tuple[int, float] | None],
        best: BestAdapterCallback,
        saved: Callable[[Path, TrainingState], None],
    ) -> None:
        """`validated`: the newest validation, after which step and its loss. `saved` hears of each checkpoint."""
        self.plan, self.counts, self.validated, self.best, self.saved = plan, counts, validated, best, saved
        self.last = self.step_began = math.inf

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_began = time.monotonic()

    def _out_of_time(self) -> bool:
        """Whether another step like the last one could be too much."""
        now = time.monotonic()
        return now + (now - self.step_began) >= self.plan.deadline

    def _due(self, state: Any) -> bool:
        if state.global_step >= self.plan.total_steps:
            return False  # the adapter itself comes next
        late = time.monotonic() - self.last >= self.plan.seconds
        return distributed.any_rank(self.plan.stop_requested() or late or self._out_of_time())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.plan.steps_per_epoch and self._due(state):
            control.should_log = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._due(state):
            control.should_log = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()
        # Both before anything else: after them each rank has written its part.
        asked, over = distributed.any_rank(self.plan.stop_requested()), distributed.any_rank(self._out_of_time())
        if distributed.rank() == 0:
            self._emit(args, state)
        if asked or over:
            raise Stopped(state.global_step, not asked)

    def _emit(self, args: Any, state: Any) -> None:
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for name in UNNEEDED:
            (directory / name).unlink(missing_ok=True)
        set_base_model_name(directory, *self.plan.base)
        self.best.copy_into(directory)
        if (reference := Path(args.output_dir) / REFERENCE_FILE).exists():
            shutil.copyfile(reference, directory / REFERENCE_FILE)
        counts, validated = self.counts(), self.validated()
        save_state(directory, counts, self.plan.run)
        self.saved(directory, counts)
        self.plan.emit(
            "checkpoint",
            step=counts.step,
            epoch=counts.epoch,
            path=os.fspath(directory),
            training_loss=counts.last_loss,
            validation_loss=validated[1] if validated and validated[0] == counts.step else None,
        )
