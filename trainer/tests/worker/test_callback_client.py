"""Callbacks: signed, in order, retried until they arrive, without slowing the training."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.fake_tunebase import LOST, SECRET, FakeTunebase

from status_manager import StatusManager
from tunebase_trainer.errors import CallbackRejected, CallbackUnreachable, LeaseLost, TrainerError
from tunebase_trainer.worker import callback_client
from tunebase_trainer.worker.callback_client import CallbackClient
from tunebase_trainer.worker.protocol import Metric

JOB = "job"


def step(number: int) -> dict[str, Any]:
    return {
        "step": number,
        "epoch": number / 10,
        "training_loss": 1 / number,
        "total_steps": 2000,
        "trained_tokens": number * 10,
        "seconds_left": 1.0,
        "progress": number / 20,
    }


async def tries(tunebase: FakeTunebase, count: int) -> None:
    """Waits until so many reports have been tried."""
    for _ in range(400):
        if len([name for name, _ in tunebase.arrivals if name == "report"]) >= count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no report came")


class Reporter:
    """A client, and the registry that it reports from."""

    def __init__(self, client: CallbackClient, jobs: StatusManager) -> None:
        self.client, self.jobs = client, jobs

    def step(self, number: int) -> None:
        event = step(number)
        self.client.add_metric(Metric.model_validate({name: event.get(name) for name in Metric.model_fields}))
        self.jobs.update_progress(JOB, event["progress"], current_step=number, trained_tokens=event["trained_tokens"])

    async def report(self) -> None:
        await self.client.report()


def connect(
    session: aiohttp.ClientSession, url: str | None, secret: str | None = SECRET, worker_id: str = "worker"
) -> Reporter:
    jobs = StatusManager()
    jobs.create_job(JOB, total_epochs=2)
    return Reporter(CallbackClient(session, url, secret, worker_id, 5, jobs, JOB), jobs)


@pytest.fixture
async def status(tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reporter]:
    monkeypatch.setattr(callback_client, "MAX_RETRY_SECONDS", 0.2)
    async with aiohttp.ClientSession() as session:
        reporter = connect(session, tunebase.callback_url)
        await reporter.client.claim("rp-1")
        reporter.client.open_spool(tmp_path)
        yield reporter
        reporter.client.close()


async def test_every_callback_is_signed_and_they_arrive_in_order(tunebase: FakeTunebase, status: Reporter) -> None:
    for number in (1, 2):
        status.step(number)
        await status.report()
    await status.client.finish("cancelled")
    assert [name for name, _ in tunebase.calls] == ["claim", "report", "report", "finish"]
    assert tunebase.of("claim") == [{"worker_id": "worker", "runpod_job_id": "rp-1"}]
    assert [(body["fence"], body["sequence"]) for body in tunebase.of("report")] == [(1, 1), (1, 2)]
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [1, 2]
    assert tunebase.of("finish") == [{"worker_id": "worker", "fence": 1, "outcome": "cancelled"}]


async def test_a_wrong_secret_is_rejected_and_not_retried(tunebase: FakeTunebase) -> None:
    async with aiohttp.ClientSession() as session:
        forged = connect(session, tunebase.callback_url, "whsec_" + "QUJD" * 8).client
        with pytest.raises(CallbackRejected) as caught:
            await forged.claim(None)
    assert (caught.value.code, caught.value.status, tunebase.calls) == ("callback_unreachable", 401, [])


# @proves late-callback
async def test_a_retry_carries_the_same_webhook_id_and_counts_once(tunebase: FakeTunebase, status: Reporter) -> None:
    status.step(1)
    tunebase.troubles = [503, LOST, 429]
    await status.report()
    tries = [message_id for name, message_id in tunebase.arrivals if name == "report"]
    assert len(tries) == 4 and len(set(tries)) == 1
    assert len(tunebase.of("report")) == 1


async def test_an_interrupted_report_is_sent_again_unchanged(tunebase: FakeTunebase, status: Reporter) -> None:
    tunebase.away = lambda name: True
    status.step(1)
    reporting = asyncio.create_task(status.report())
    await tries(tunebase, 1)
    reporting.cancel()
    await asyncio.wait([reporting])
    tunebase.away = lambda name: False
    status.step(2)
    await status.client.finish("cancelled")
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [1, 2]
    assert [len(body["metrics"]) for body in tunebase.of("report")] == [1, 1]
    assert len({message_id for name, message_id in tunebase.arrivals if name == "report"}) == 2


async def test_an_attempt_that_another_worker_holds_is_left_alone(tunebase: FakeTunebase) -> None:
    tunebase.claim = {"claimed": False, "reason": "held", "detail": "another worker holds it"}
    async with aiohttp.ClientSession() as session:
        second = connect(session, tunebase.callback_url, worker_id="second").client
        with pytest.raises(LeaseLost, match="another worker holds it"):
            await second.claim(None)


async def test_directives_arrive_once_and_only_one_of_higher_priority_follows(
    tunebase: FakeTunebase, status: Reporter
) -> None:
    directives = ["continue", "pause", "pause", "cancel", "pause", "stop"]
    for tunebase.directive in directives:
        await status.report()
    assert [await asyncio.wait_for(status.client.next_directive(), 1) for _ in range(3)] == ["pause", "cancel", "stop"]


async def test_nothing_is_lost_or_reordered_by_an_outage(
    tunebase: FakeTunebase, status: Reporter, tmp_path: Path
) -> None:
    tunebase.away = lambda name: True
    reporting = asyncio.create_task(status.client.report_forever())
    status.step(1)
    await tries(tunebase, 2)  # a report is on its way, and is refused again and again
    for number in range(2, 1201):
        status.step(number)
    for number in range(120):
        status.client.add_log("info", f"line {number}")
    assert tunebase.calls[1:] == []
    assert (tmp_path / "spool.jsonl").stat().st_size > 100_000, "what waits is on disk, not in memory"
    tunebase.away = lambda name: False
    # The last report is in the spool until its answer has arrived.
    for _ in range(300):
        await asyncio.sleep(0.1)
        if (tmp_path / "spool.jsonl").stat().st_size == 0:
            break
    reporting.cancel()
    assert [metric["step"] for metric in tunebase.reported("metrics")] == list(range(1, 1201))
    assert [event["message"] for event in tunebase.reported("events")] == [f"line {number}" for number in range(120)]
    assert max(len(body["metrics"]) for body in tunebase.of("report")) == 500
    assert [body["sequence"] for body in tunebase.of("report")] == list(range(1, len(tunebase.of("report")) + 1))
    assert (tmp_path / "spool.jsonl").stat().st_size == 0


async def test_a_rejected_report_is_dropped_and_the_next_one_arrives(tunebase: FakeTunebase, status: Reporter) -> None:
    status.step(1)
    tunebase.troubles = [400]
    await status.report()
    status.step(2)
    await status.report()
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [2]


async def test_nul_and_lone_surrogates_are_removed_from_log_lines(tunebase: FakeTunebase, status: Reporter) -> None:
    status.client.add_log("info", "a\0b \ud83d c 😀")
    await status.report()
    assert tunebase.of("report")[0]["events"] == [{"level": "info", "message": "a\ufffdb \ufffd c 😀"}]


async def test_a_report_with_a_rejected_signature_ends_reporting(tunebase: FakeTunebase, status: Reporter) -> None:
    tunebase.troubles = [401]
    status.step(1)
    with pytest.raises(CallbackRejected):
        await asyncio.wait_for(status.client.report_forever(), 5)


async def test_finish_sends_unreported_items_first_and_gives_up_after_its_timeout(
    tunebase: FakeTunebase, status: Reporter
) -> None:
    status.step(1)
    tunebase.away = lambda name: name == "report"
    await status.client.failed(TrainerError("disk_full", "The disk is full.", "More room."), timeout_seconds=1)
    assert tunebase.of("finish")[0]["error_code"] == "disk_full"
    tunebase.away = lambda name: True
    with pytest.raises(CallbackUnreachable):
        await status.client.finish("cancelled", timeout_seconds=1)


async def test_no_heartbeat_follows_the_last_call(tunebase: FakeTunebase, status: Reporter) -> None:
    status.step(1)
    first = asyncio.create_task(status.report())
    await asyncio.sleep(0)
    finish = asyncio.create_task(status.client.finish("cancelled"))  # it waits for the first report
    await asyncio.sleep(0)
    third = asyncio.create_task(status.report())  # and this one for finish()'s own
    await asyncio.gather(first, finish, third)
    assert [name for name, _ in tunebase.calls] == ["claim", "report", "report", "finish"]


async def test_progress_and_trained_tokens_never_fall(tunebase: FakeTunebase, status: Reporter) -> None:
    status.step(100)
    status.jobs.update_progress(JOB, 1, stage="loading_model")
    status.jobs.update_progress(JOB, current_step=3, current_epoch=0.3, trained_tokens=30)
    await status.report()
    report = tunebase.of("report")[-1]
    assert (report["progress"], report["trained_tokens"], report["total_epochs"]) == (5, 1000, 2)


async def test_without_a_callback_url_nothing_is_sent(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        silent = connect(session, None, None)
        silent.client.open_spool(tmp_path)
        silent.step(1)
        silent.client.add_log("info", "hello")
        assert (await silent.client.finish("cancelled")).accepted
        assert list(tmp_path.iterdir()) == []
