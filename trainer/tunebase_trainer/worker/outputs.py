"""The handler's output to RunPod, and the progress that polling shows: HandlerOutput and HandlerProgress."""

from __future__ import annotations

from typing import Any

from status_manager import JobStatus

from ..errors import TrainerError
from .protocol import AdapterUploaded, Manifest


def completed(
    job: JobStatus, adapter_path: str, manifest: Manifest, uploaded: AdapterUploaded | None, warning: str | None
) -> dict[str, Any]:
    return {
        "status": "completed",
        "job_id": job["job_id"],
        "adapter_path": adapter_path,
        "progress": 100,
        "metrics": job["metrics"],
        "manifest": manifest.model_dump(),
        **({"adapter_uploaded": uploaded.model_dump()} if uploaded is not None else {}),
        **({"warning": warning} if warning is not None else {}),
    }


def failed(job_id: Any, error: TrainerError) -> dict[str, Any]:
    """With `error`, RunPod shows the run as FAILED. With `refresh_worker`, it replaces the worker."""
    return {
        **({"refresh_worker": True} if error.code == "gpu_unavailable" else {}),
        "status": "failed",
        "job_id": str(job_id),
        "error": error.message,
        "error_message": error.message,
        "error_code": error.code,
        "hint": error.hint,
    }


def ended(status: str, job_id: str, detail: str) -> dict[str, Any]:
    """The output of a cancelled, paused, preempted or refused run: neither a result nor a failure."""
    return {"status": status, "job_id": job_id, "detail": detail}


def progress(job: JobStatus) -> dict[str, Any]:
    """A HandlerProgress."""
    return {
        "status": "running",
        "progress": job["progress"],
        "current_epoch": job["current_epoch"],
        "current_step": job["current_step"],
        "stage": job["stage"],
        "metrics": job["metrics"],
    }
