"""Tells each logged step of a training, with a progress and a time that follow from the tokens, not from the steps."""

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
# A run of up to so many steps tells each; a longer one every tenth, and at least one in so many seconds.
MAX_STEPS_LOGGED_EACH, LOGGING_STEPS, MAX_SECONDS_BETWEEN_LOGS = 200, 10, 5.0


class TrainingLoop(Protocol):
    """What is told of."""

    state: Any
    tokens_seen: int


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # untyped, as Trainer
    """Tells each logged step, and stops on a loss that is not a number."""

    def __init__(self, loop: TrainingLoop, plan: Plan, validates: bool, resumed: TrainingState | None) -> None:
        self.loop, self.plan, self.validates = loop, plan, validates
        self.gpu = GpuMeter()
        self.first_loss = resumed.first_loss if resumed else None
        self.last_loss = resumed.last_loss if resumed else None
        self.began = self.last_time = time.monotonic()
        self.began_at = self.last_tokens = 0
        self.held: dict[str, Any] | None = None
        """A step that waits for the validation after it."""
        self.validated: tuple[int, float] | None = None
        """The newest validation: after which step, its loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = self.last_time = time.monotonic()
        self.began_at = self.last_tokens = self.loop.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A validation is told with its step, so that step is told, whatever the rhythm.
        at_validation = self.validates and state.global_step % self.plan.steps_per_epoch == 0
        # Together: what is logged is gathered from all ranks.
        if distributed.any_rank(at_validation or time.monotonic() - self.last_time >= MAX_SECONDS_BETWEEN_LOGS):
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            check_finite(state.global_step, logs["eval_loss"])
            if "eval_accuracy" in logs:
                message = (
                    f"Validation after step {state.global_step}: in {logs['eval_accuracy']:.0%} of the pairs the "
                    "preferred answer has gained on the other (reward margin "
                    f"{logs['eval_margin']:.3f} on average)."
                )
                self.plan.emit("log", level="info", message=message)
            self.validated = state.global_step, logs["eval_loss"]
            if self.held is not None:
                self.plan.emit("step", **self.held | {"validation_loss": logs["eval_loss"]})
                self.held = None
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        check_finite(state.global_step, loss)
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.last_loss = loss
        now, seen, total = time.monotonic(), self.loop.tokens_seen, self.plan.total_tokens
        tokens, seconds = seen - self.last_tokens, now - self.last_time
        self.last_tokens, self.last_time = seen, now
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
            "seconds_left": (now - self.began) / max(1, seen - self.began_at) * max(0, total - seen),
            "progress": PROGRESS_START + (PROGRESS_END - PROGRESS_START) * min(1.0, seen / total),
            **self.gpu.read(),
        }
        if self.validates and state.global_step % self.plan.steps_per_epoch == 0:
            self.held = step
        else:
            self.plan.emit("step", **step)


def check_finite(step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise TrainingDiverged(step)
