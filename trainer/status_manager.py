"""The status of this worker process's jobs, in memory.

The handler, RunPod's progress updates and the signed callbacks share one `StatusManager`: the attempt writes each
change here, and every report reads from here. It uses no network and no disk.
"""

from __future__ import annotations

import copy
import threading
import time
from typing import Any, TypedDict

TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "paused", "preempted", "refused"})
STATUSES = frozenset({"queued", "running"}) | TERMINAL_STATUSES


class JobStatus(TypedDict):
    """The status of one job. Times are Unix seconds."""

    job_id: str
    status: str
    """One of `STATUSES`."""
    stage: str
    progress: float
    """Percent. Never decreases."""
    current_epoch: float
    total_epochs: int | None
    current_step: int
    total_steps: int | None
    trained_tokens: int
    """Never decreases, even when training starts over."""
    seconds_left: float | None
    metrics: dict[str, Any] | None
    """The metrics of the newest logged step."""
    error_code: str | None
    error_message: str | None
    hint: str | None
    created_at: float
    updated_at: float
    revision: int
    """Incremented by each change, so that readers can detect changes."""


class StatusManager:
    """A thread-safe registry of jobs. Every method returns copies; modifying one does not affect the registry.

    Updates of a job that does not exist raise KeyError. The first terminal status wins: later updates are ignored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, JobStatus] = {}

    def create_job(self, job_id: str, total_epochs: int | None = None) -> JobStatus:
        """Registers a job as queued. Replaces a job with the same id, of which this is the next attempt."""
        now = time.time()
        job = JobStatus(
            job_id=job_id,
            status="queued",
            stage="setup",
            progress=0.0,
            current_epoch=0.0,
            total_epochs=total_epochs,
            current_step=0,
            total_steps=None,
            trained_tokens=0,
            seconds_left=None,
            metrics=None,
            error_code=None,
            error_message=None,
            hint=None,
            created_at=now,
            updated_at=now,
            revision=0,
        )
        with self._lock:
            self._jobs[job_id] = job
            return copy.deepcopy(job)

    def update_status(
        self,
        job_id: str,
        status: str,
        *,
        stage: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        hint: str | None = None,
    ) -> JobStatus:
        """Sets the status and, for a failure, the reason. Raises ValueError for an unknown status."""
        if status not in STATUSES:
            raise ValueError(f"status = {status!r}: must be one of {', '.join(sorted(STATUSES))}")
        changes = {
            "status": status,
            "stage": stage,
            "error_code": error_code,
            "error_message": error_message,
            "hint": hint,
            "progress": 100.0 if status == "completed" else None,
        }
        return self._update(job_id, {name: value for name, value in changes.items() if value is not None})

    def update_progress(
        self,
        job_id: str,
        progress: float | None = None,
        *,
        stage: str | None = None,
        current_epoch: float | None = None,
        current_step: int | None = None,
        total_steps: int | None = None,
        trained_tokens: int | None = None,
        seconds_left: float | None = None,
    ) -> JobStatus:
        """Updates the given values. `progress` is clamped to 0–100; it and `trained_tokens` never decrease."""
        changes = {
            "progress": progress,
            "stage": stage,
            "current_epoch": current_epoch,
            "current_step": current_step,
            "total_steps": total_steps,
            "trained_tokens": trained_tokens,
            "seconds_left": seconds_left,
        }
        return self._update(job_id, {name: value for name, value in changes.items() if value is not None})

    def update_metrics(self, job_id: str, metrics: dict[str, Any]) -> JobStatus:
        """Replaces the newest metrics."""
        return self._update(job_id, {"metrics": copy.deepcopy(metrics)})

    def get_status(self, job_id: str) -> JobStatus | None:
        with self._lock:
            return copy.deepcopy(self._jobs.get(job_id))

    def get_all_jobs(self) -> list[JobStatus]:
        """All jobs, oldest first."""
        with self._lock:
            return copy.deepcopy(list(self._jobs.values()))

    def get_jobs_by_status(self, status: str) -> list[JobStatus]:
        with self._lock:
            return copy.deepcopy([job for job in self._jobs.values() if job["status"] == status])

    def cleanup(self, max_age_seconds: float) -> int:
        """Removes finished jobs that have not changed for `max_age_seconds`. Returns how many."""
        oldest = time.time() - max_age_seconds
        with self._lock:
            expired = [
                job_id
                for job_id, job in self._jobs.items()
                if job["status"] in TERMINAL_STATUSES and job["updated_at"] <= oldest
            ]
            for job_id in expired:
                del self._jobs[job_id]
        return len(expired)

    def _update(self, job_id: str, changes: dict[str, Any]) -> JobStatus:
        with self._lock:
            job = self._jobs[job_id]
            if job["status"] not in TERMINAL_STATUSES:
                if "progress" in changes:
                    changes["progress"] = min(100.0, max(job["progress"], float(changes["progress"])))
                if "trained_tokens" in changes:
                    changes["trained_tokens"] = max(job["trained_tokens"], changes["trained_tokens"])
                job.update(changes)  # type: ignore[typeddict-item]  # the callers name the fields
                job["updated_at"] = time.time()
                job["revision"] += 1
            return copy.deepcopy(job)
