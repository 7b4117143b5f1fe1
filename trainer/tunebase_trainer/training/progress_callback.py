"""Reports each logged step. Progress and remaining time are based on tokens, not steps."""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

from transformers import TrainerCallback

from ..model import distributed
from .checkpoint_state import TrainingState
from .checkpoints import Plan
from .gpu_stats import GpuMeter
from .loss import TrainingDiverged

# Training's share of a job's progress, in percent.
PROGRESS_START, PROGRESS_END = 10.0, 92.0
# A run of up to this many steps logs each of them; a longer one logs every tenth, and at least one per interval.
MAX_STEPS_LOGGED_EACH, LOGGING_STEPS, MAX_SECONDS_BETWEEN_LOGS = 200, 10, 5.0


class TrainingLoop(Protocol):
    """The clock for progress and remaining time."""

    state: Any
    tokens_seen: int


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # untyped, as Trainer
    """Reports each logged step, and stops on a non-finite loss."""

    def __init__(self, trainer: TrainingLoop, plan: Plan, resumed: TrainingState | None) -> None:
        self.trainer, self.plan = trainer, plan
        self.gpu = GpuMeter()
        self.first_loss = resumed.first_loss if resumed else None
        self.last_loss = resumed.last_loss if resumed else None
        self.started = self.last_time = time.monotonic()
        self.tokens_at_start = self.last_tokens = 0
        self.pending: dict[str, Any] | None = None
        """A step whose validation has not finished."""
        self.validated: tuple[int, float] | None = None
        """The newest validation: its step and its loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = self.last_time = time.monotonic()
        self.tokens_at_start = self.last_tokens = self.trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A validation is reported with its step, so its step is always logged.
        at_validation = self.plan.is_validated(state.global_step)
        # Collective, because the logged loss is gathered from all ranks.
        if distributed.any_rank(at_validation or time.monotonic() - self.last_time >= MAX_SECONDS_BETWEEN_LOGS):
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is not None and "eval_loss" in logs:
            self._report_validation(state.global_step, logs)
        if logs is not None and "loss" in logs:
            self._report_step(state, logs)

    def _report_validation(self, step: int, logs: dict[str, float]) -> None:
        check_finite(step, logs["eval_loss"])
        if "eval_accuracy" in logs:
            message = (
                f"Validation after step {step}: in {logs['eval_accuracy']:.0%} of the pairs the preferred answer has "
                f"gained on the other one (mean reward margin {logs['eval_margin']:.3f})."
            )
            self.plan.emit("log", level="info", message=message)
        self.validated = step, logs["eval_loss"]
        if self.pending is not None:
            self.plan.emit("step", **self.pending | {"validation_loss": logs["eval_loss"]})
            self.pending = None
        self.last_time = time.monotonic()  # tokens_per_second excludes validation

    def _report_step(self, state: Any, logs: dict[str, float]) -> None:
        loss = float(logs["loss"])
        check_finite(state.global_step, loss)
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.last_loss = loss
        now, seen, total = time.monotonic(), self.trainer.tokens_seen, self.plan.total_tokens
        tokens, seconds = seen - self.last_tokens, now - self.last_time
        self.last_tokens, self.last_time = seen, now
        seconds_per_token = (now - self.started) / max(1, seen - self.tokens_at_start)
        step = {
            "step": state.global_step,
            "total_steps": self.plan.total_steps,
            "epoch": round(float(state.epoch), 4),
            "training_loss": loss,
            "validation_loss": None,
            "learning_rate": logs.get("learning_rate"),
            "gradient_norm": float(logs.get("grad_norm", 0.0)),
            "tokens_per_second": tokens / seconds if seconds > 0 else None,
            "trained_tokens": seen,
            "seconds_left": seconds_per_token * max(0, total - seen),
            "progress": PROGRESS_START + (PROGRESS_END - PROGRESS_START) * min(1.0, seen / total),
            **self.gpu.read(),
        }
        if self.plan.is_validated(state.global_step):
            self.pending = step
        else:
            self.plan.emit("step", **step)


def check_finite(step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise TrainingDiverged(step)
