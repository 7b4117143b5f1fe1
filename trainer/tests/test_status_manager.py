"""The registry of job status: what its methods do, from one thread and from many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from status_manager import TERMINAL_STATUSES, StatusManager


@pytest.fixture
def jobs() -> StatusManager:
    manager = StatusManager()
    manager.create_job("a", total_epochs=3)
    return manager


def test_a_new_job_is_queued_with_no_progress(jobs: StatusManager) -> None:
    job = jobs.get_status("a")
    assert job is not None
    assert (job["status"], job["stage"], job["progress"], job["total_epochs"]) == ("queued", "setup", 0, 3)
    assert job["metrics"] is None and job["created_at"] <= time.time()


def test_an_unknown_job_has_no_status_and_cannot_be_updated(jobs: StatusManager) -> None:
    assert jobs.get_status("b") is None
    with pytest.raises(KeyError):
        jobs.update_progress("b", 1)


def test_an_unknown_status_is_rejected(jobs: StatusManager) -> None:
    with pytest.raises(ValueError, match="status = 'done'"):
        jobs.update_status("a", "done")


def test_progress_is_clamped_and_neither_it_nor_trained_tokens_ever_falls(jobs: StatusManager) -> None:
    jobs.update_progress("a", 40, trained_tokens=1000, current_step=7)
    job = jobs.update_progress("a", 10, trained_tokens=10, current_step=3)
    assert (job["progress"], job["trained_tokens"], job["current_step"]) == (40, 1000, 3)
    assert jobs.update_progress("a", 250)["progress"] == 100


def test_the_first_terminal_status_wins(jobs: StatusManager) -> None:
    jobs.update_status("a", "failed", error_code="disk_full", error_message="Full.", hint="More space.")
    revision = jobs.update_status("a", "completed")["revision"]
    job = jobs.update_progress("a", 90)
    assert (job["status"], job["error_code"], job["hint"], job["progress"]) == ("failed", "disk_full", "More space.", 0)
    assert job["revision"] == revision
    assert jobs.create_job("a")["status"] == "queued", "the next attempt starts over"


def test_every_change_increments_the_revision(jobs: StatusManager) -> None:
    revisions = [
        jobs.update_status("a", "running")["revision"],
        jobs.update_progress("a", 1)["revision"],
        jobs.update_metrics("a", {"step": 1})["revision"],
    ]
    assert revisions == [1, 2, 3]


def test_what_is_returned_and_what_is_passed_are_copies(jobs: StatusManager) -> None:
    metrics: dict[str, Any] = {"step": 1, "losses": [1.0]}
    jobs.update_metrics("a", metrics)
    metrics["losses"].append(2.0)
    for job in (jobs.get_status("a"), jobs.get_all_jobs()[0], jobs.get_jobs_by_status("queued")[0]):
        assert job is not None and job["metrics"] is not None
        job["progress"] = 99.0
        job["metrics"]["step"] = 5
    unchanged = jobs.get_status("a")
    assert unchanged is not None
    assert (unchanged["progress"], unchanged["metrics"]) == (0, {"step": 1, "losses": [1.0]})


def test_jobs_are_listed_and_filtered_by_status(jobs: StatusManager) -> None:
    jobs.create_job("b")
    jobs.update_status("b", "running")
    assert [job["job_id"] for job in jobs.get_all_jobs()] == ["a", "b"]
    assert [job["job_id"] for job in jobs.get_jobs_by_status("running")] == ["b"]
    assert jobs.get_jobs_by_status("failed") == []


def test_cleanup_forgets_old_finished_jobs_only(jobs: StatusManager) -> None:
    for job_id, status in (("b", "completed"), ("c", "running"), ("d", "failed")):
        jobs.create_job(job_id)
        jobs.update_status(job_id, status)
    assert jobs.cleanup(max_age_seconds=3600) == 0
    time.sleep(0.02)
    assert jobs.cleanup(max_age_seconds=0.01) == 2
    assert [job["job_id"] for job in jobs.get_all_jobs()] == ["a", "c"]


def test_many_threads_lose_no_update_and_never_see_a_half_made_one() -> None:
    jobs, threads, updates = StatusManager(), 8, 300
    problems: list[str] = []
    stop = threading.Event()
    start = threading.Barrier(threads + 2)

    def write(number: int) -> None:
        own = f"job-{number}"
        jobs.create_job(own)
        for step in range(1, updates + 1):
            jobs.update_progress(own, step / updates * 100, current_step=step, trained_tokens=10 * step)
            jobs.update_metrics(own, {"step": step, "twice": 2 * step})
            jobs.update_progress("shared", step)
        jobs.update_status(own, "completed" if number % 2 else "failed")

    def read() -> None:
        last: dict[str, int] = {}
        while not stop.is_set():
            for job in jobs.get_all_jobs():
                if job["trained_tokens"] != 10 * job["current_step"]:
                    problems.append("a progress update was seen in part")
                if job["metrics"] is not None and job["metrics"]["twice"] != 2 * job["metrics"]["step"]:
                    problems.append("metrics were seen in part")
                if job["revision"] < last.get(job["job_id"], 0):
                    problems.append("a revision went back")
                last[job["job_id"]] = job["revision"]
            jobs.cleanup(max_age_seconds=3600)
            len(jobs.get_jobs_by_status("queued"))

    def guarded(work: Callable[[], None]) -> None:
        try:
            start.wait()
            work()
        except Exception as error:
            problems.append(repr(error))

    jobs.create_job("shared")
    writers = [
        threading.Thread(target=guarded, args=(lambda number=number: write(number),)) for number in range(threads)
    ]
    readers = [threading.Thread(target=guarded, args=(read,)) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert problems == []
    shared = jobs.get_status("shared")
    assert shared is not None and (shared["revision"], shared["progress"]) == (threads * updates, 100)
    for job in jobs.get_all_jobs():
        if job["job_id"] != "shared":
            assert job["current_step"] == updates and job["revision"] == 2 * updates + 1
    finished = [len(jobs.get_jobs_by_status(status)) for status in ("completed", "failed")]
    assert finished == [threads // 2, threads // 2]
    assert jobs.cleanup(max_age_seconds=0) == threads
    assert {job["status"] for job in jobs.get_all_jobs()}.isdisjoint(TERMINAL_STATUSES)
