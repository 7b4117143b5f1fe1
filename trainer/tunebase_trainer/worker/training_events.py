"""Handles the events of the training process, and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AttemptStopped, TrainerError
from .checkpoint_upload import SavedCheckpoint
from .log_redaction import redact, redacted_tail
from .process import TrainingProcess
from .protocol import Metric
from .wandb_mirror import CLOSE_SECONDS

if TYPE_CHECKING:
    from .attempt import Attempt

log = logging.getLogger("tunebase")


class TrainingEvents:
    """Forwards the events of one training to the job's status, the callbacks, the uploads, and Weights & Biases."""

    def __init__(self, attempt: Attempt, training: TrainingProcess) -> None:
        self._attempt, self._training = attempt, training
        self._result: dict[str, Any] | None = None
        self._error: TrainerError | None = None
        self._refreshing_targets: asyncio.Task[None] | None = None

    async def follow(self) -> dict[str, Any]:
        """The training's result. Raises AttemptStopped if it stopped on request, or TrainerError."""
        attempt = self._attempt
        try:
            async for event in self._training.events():
                self._handle(event.pop("type"), event)
            code = await self._training.wait()
            for line in self._training.warnings:
                attempt.callbacks.add_log("warn", redact(line))
            # The platform may send SIGTERM while the process exits. The result is complete nevertheless.
            completed = self._error is None and (code == 0 or (code == -signal.SIGTERM and self._result is not None))
            attempt.wandb.end(0 if completed else 1)
            await attempt.wandb.close(1 if attempt.outcome == "preempted" else CLOSE_SECONDS)
        finally:
            if self._refreshing_targets is not None:
                self._refreshing_targets.cancel()
                await asyncio.wait([self._refreshing_targets])
        if completed and self._result is not None:
            return self._result
        if self._error is None and attempt.outcome is not None and code in (0, -signal.SIGTERM):
            await attempt.checkpoints.drain()
            raise AttemptStopped
        raise self._failure(code)

    def _handle(self, kind: str, event: dict[str, Any]) -> None:
        attempt = self._attempt
        match kind:
            case "stage":
                self._enter_stage(event["stage"], event["progress"])
            case "resumed":
                attempt.jobs.update_progress(
                    attempt.input.job_id,
                    current_step=event["step"],
                    current_epoch=event["epoch"],
                    trained_tokens=event["trained_tokens"],
                )
            case "step":
                self._record_step(event)
            case "checkpoint":
                if not attempt.direct:
                    attempt.checkpoints.enqueue(SavedCheckpoint(**{**event, "path": Path(event["path"])}))
            case "log":
                log.info("%s", event["message"])
                attempt.callbacks.add_log(event["level"], event["message"])
            case "error":
                self._error = TrainerError(event["code"], event["message"], event["hint"])
            case "stopped":
                # Not requested by this worker: it is close to its time limit, or the platform signaled every process.
                attempt.outcome = attempt.outcome or "preempted"
                attempt.out_of_time = event["out_of_time"]
            case "result":
                self._result = event

    def _enter_stage(self, stage: str, progress: float) -> None:
        attempt = self._attempt
        attempt.jobs.update_progress(attempt.input.job_id, progress, stage=stage)
        if stage == "training" and attempt.phase == "before":
            attempt.phase = "training"
            if not attempt.direct:
                self._refreshing_targets = asyncio.create_task(attempt.adapter.refresh_targets())

    def _record_step(self, event: dict[str, Any]) -> None:
        attempt, job_id = self._attempt, self._attempt.input.job_id
        metric = Metric.model_validate({name: event.get(name) for name in Metric.model_fields})
        attempt.wandb.step(event)
        attempt.callbacks.add_metric(metric)
        attempt.jobs.update_metrics(job_id, metric.model_dump())
        attempt.jobs.update_progress(
            job_id,
            event["progress"],
            current_epoch=metric.epoch,
            current_step=metric.step,
            total_steps=event["total_steps"],
            trained_tokens=event["trained_tokens"],
            seconds_left=event["seconds_left"],
        )

    def _failure(self, code: int) -> TrainerError:
        lines = self._training.last_lines
        log.warning("training ended with %s; its last lines:\n%s", code, "\n".join(lines))
        unexplained = self._error is None or self._error.code in ("internal_error", "out_of_memory")
        if unexplained and (tail := redacted_tail(lines)):
            self._attempt.callbacks.add_log("error", f"The trainer's last lines:\n{tail}")
        if self._error is not None:
            return self._error
        if code < 0:
            return TrainerError(
                "trainer_killed",
                f"The training process was killed ({signal.Signals(-code).name}), most likely because the worker ran "
                "out of memory.",
                "Create the job again. If it is killed again, use a smaller max_length or batch_size.",
            )
        return TrainerError(
            "internal_error",
            f"The training process ended with status {code} and no result.",
            "This is not a problem with your data. The job's log has the last lines of the output; the worker's "
            "log, for the operator, has more.",
        )
