"""Decides when to save a checkpoint, which has transformers' files and Tunebase's state (`checkpoint_state.py`).

A resumed run makes exactly the same steps as an uninterrupted one. In addition to transformers' state, this requires an
order of rows that depends only on the epoch (`LengthGroupedSampler`), a logging window that ends at each checkpoint,
and no checkpoint between a step and its validation.
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

# Not needed for resuming, and training_args.bin is an arbitrary pickle.
UNNEEDED = ("training_args.bin",)


class Stopped(Exception):
    """Training was asked to stop, or is close to its deadline. A checkpoint of `step` has been saved."""

    def __init__(self, step: int, out_of_time: bool) -> None:
        super().__init__(step)
        self.step, self.out_of_time = step, out_of_time


@dataclass(frozen=True)
class Plan:
    """How long to train, when to save, and where to report."""

    seconds: float
    """The interval between checkpoints, approximately; infinity: save only when asked to stop."""
    stop_requested: Callable[[], bool]
    deadline: float
    """When a checkpoint must have been saved, by time.monotonic; infinity: no deadline."""
    total_steps: int
    eval_steps: int | None
    """Steps between two validations; None: no validation."""
    total_tokens: int
    """The total over all epochs."""
    run: dict[str, Any]
    base: tuple[str, str | None]
    """The base model's public name and revision, for the adapter's config."""
    emit: Callable[..., None]

    def is_validated(self, step: int) -> bool:
        return self.eval_steps is not None and (step % self.eval_steps == 0 or step == self.total_steps)


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Makes the Trainer save at the end of a step when a checkpoint is due, reports it, and stops the run on
    request."""

    def __init__(
        self,
        plan: Plan,
        current_state: Callable[[], TrainingState],
        validated: Callable[[], tuple[int, float] | None],
        best: BestAdapterCallback,
        saved: Callable[[Path, TrainingState], None],
    ) -> None:
        """`validated`: step and loss of the newest validation. `saved` is called for each checkpoint."""
        self.plan, self.current_state, self.validated, self.best, self.saved = (
            plan,
            current_state,
            validated,
            best,
            saved,
        )
        self.last_saved = self.step_started = self.step_ended = math.inf
        self.validation_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last_saved = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_started = time.monotonic()

    def _out_of_time(self) -> bool:
        """Whether another step like the last one, including its validation, might exceed the deadline."""
        step_seconds = self.step_ended - self.step_started
        return time.monotonic() + step_seconds + self.validation_seconds >= self.plan.deadline

    def _due(self, state: Any) -> bool:
        if state.global_step >= self.plan.total_steps:
            return False  # the adapter itself is saved next
        elapsed = time.monotonic() - self.last_saved >= self.plan.seconds
        return distributed.any_rank(self.plan.stop_requested() or elapsed or self._out_of_time())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_ended = time.monotonic()
        # transformers validates before it saves.
        if self._due(state):
            control.should_log = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.validation_seconds = time.monotonic() - self.step_ended

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last_saved = time.monotonic()
        # Both first: afterwards, every rank has written its part.
        asked, over = distributed.any_rank(self.plan.stop_requested()), distributed.any_rank(self._out_of_time())
        if distributed.rank() == 0:
            self._complete(args, state)
        if asked or over:
            raise Stopped(state.global_step, not asked)

    def _complete(self, args: Any, state: Any) -> None:
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for name in UNNEEDED:
            (directory / name).unlink(missing_ok=True)
        set_base_model_name(directory, *self.plan.base)
        self.best.copy_into(directory)
        if (reference := Path(args.output_dir) / REFERENCE_FILE).exists():
            shutil.copyfile(reference, directory / REFERENCE_FILE)
        current, validated = self.current_state(), self.validated()
        save_state(directory, current, self.plan.run)
        self.saved(directory, current)
        self.plan.emit(
            "checkpoint",
            step=current.step,
            epoch=current.epoch,
            path=os.fspath(directory),
            training_loss=current.last_loss,
            validation_loss=validated[1] if validated and validated[0] == current.step else None,
        )
