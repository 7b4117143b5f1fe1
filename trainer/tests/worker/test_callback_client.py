"""Callbacks: signed, in order, repeated until they arrive, and never in the way of what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.fake_tunebase import LOST, SECRET, FakeTunebase

from tunebase_trainer.errors import CallbackRejected, CallbackUnreachable, LeaseLost, TrainerError
from tunebase_trainer.worker import callback_client
from tunebase_trainer.worker.callback_client import CallbackClient


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


@pytest.fixture
async def status(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CallbackClient]:
    monkeypatch.setattr(callback_client, "MAX_RETRY_SECONDS", 0.2)
    async with aiohttp.ClientSession() as session:
        made = CallbackClient(session, tunebase.callback_url, SECRET, "worker", patience=5)
        await made.claim("rp-1")
        made.begin(tmp_path, 2)
        yield made
        made.close()


async def test_every_callback_is_signed_and_they_arrive_in_order(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    for number in (1, 2):
        status.step(step(number))
        await status.report()
    await status.finish("cancelled")
    assert [name for name, _ in tunebase.calls] == ["claim", "report", "report", "finish"]
    assert tunebase.of("claim") == [{"worker_id": "worker", "runpod_job_id": "rp-1"}]
    assert [(body["fence"], body["sequence"]) for body in tunebase.of("report")] == [(1, 1), (1, 2)]
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [1, 2]
    assert tunebase.of("finish") == [{"worker_id": "worker", "fence": 1, "outcome": "cancelled"}]


async def test_a_wrong_secret_is_refused_and_not_tried_again(tunebase: FakeTunebase) -> None:
    async with aiohttp.ClientSession() as session:
        forged = CallbackClient(session, tunebase.callback_url, "whsec_" + "QUJD" * 8, "worker", 5)
        with pytest.raises(CallbackRejected) as caught:
            await forged.claim(None)
    assert (caught.value.code, caught.value.status, tunebase.calls) == ("callback_unreachable", 401, [])


async def test_a_retry_carries_the_same_webhook_id_and_counts_once(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    status.step(step(1))
    tunebase.troubles = [503, LOST, 429]
    await status.report()
    tries = [message_id for name, message_id in tunebase.arrivals if name == "report"]
    assert len(tries) == 4 and len(set(tries)) == 1
    assert len(tunebase.of("report")) == 1


async def test_a_report_that_was_cut_off_is_sent_again_as_it_was(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    tunebase.away = lambda name: True
    status.step(step(1))
    reporting = asyncio.create_task(status.report())
    await tries(tunebase, 1)
    reporting.cancel()
    await asyncio.wait([reporting])
    tunebase.away = lambda name: False
    status.step(step(2))
    await status.finish("cancelled")
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [1, 2]
    assert [len(body["metrics"]) for body in tunebase.of("report")] == [1, 1]
    assert len({message_id for name, message_id in tunebase.arrivals if name == "report"}) == 2


async def test_an_attempt_that_another_worker_holds_is_left_alone(tunebase: FakeTunebase) -> None:
    tunebase.claim = {"claimed": False, "reason": "held", "detail": "another worker holds it"}
    async with aiohttp.ClientSession() as session:
        second = CallbackClient(session, tunebase.callback_url, SECRET, "second", 5)
        with pytest.raises(LeaseLost, match="another worker holds it"):
            await second.claim(None)


async def test_orders_are_heard_once_and_a_heavier_one_after_a_lighter(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    orders = ["continue", "pause", "pause", "cancel", "pause", "stop"]
    for tunebase.order in orders:
        await status.report()
    assert [await asyncio.wait_for(status.next_directive(), 1) for _ in range(3)] == ["pause", "cancel", "stop"]


async def test_nothing_is_lost_or_out_of_order_when_tunebase_was_away(
    tunebase: FakeTunebase, status: CallbackClient, tmp_path: Path
) -> None:
    tunebase.away = lambda name: True
    reporting = asyncio.create_task(status.report_forever())
    status.step(step(1))
    await tries(tunebase, 2)  # a report is on its way, and is refused again and again
    for number in range(2, 1201):
        status.step(step(number))
    for number in range(120):
        status.log("info", f"line {number}")
    assert tunebase.calls[1:] == []
    assert (tmp_path / "spool.jsonl").stat().st_size > 100_000, "what waits is on disk, not in memory"
    tunebase.away = lambda name: False
    for _ in range(300):
        await asyncio.sleep(0.1)
        if len(tunebase.reported("events")) == 120:
            break
    reporting.cancel()
    assert [metric["step"] for metric in tunebase.reported("metrics")] == list(range(1, 1201))
    assert [event["message"] for event in tunebase.reported("events")] == [f"line {number}" for number in range(120)]
    assert max(len(body["metrics"]) for body in tunebase.of("report")) == 500
    assert [body["sequence"] for body in tunebase.of("report")] == list(range(1, len(tunebase.of("report")) + 1))
    await asyncio.sleep(0)
    assert (tmp_path / "spool.jsonl").stat().st_size == 0


async def test_a_report_that_is_refused_is_dropped_and_the_next_arrives(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    status.step(step(1))
    tunebase.troubles = [400]
    await status.report()
    status.step(step(2))
    await status.report()
    assert [metric["step"] for metric in tunebase.reported("metrics")] == [2]


async def test_a_log_line_with_nul_and_half_a_character_is_told_without_them(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    status.log("info", "a\0b \ud83d c 😀")
    await status.report()
    assert tunebase.of("report")[0]["events"] == [{"level": "info", "message": "a\ufffdb \ufffd c 😀"}]


async def test_a_report_whose_signature_does_not_hold_ends_reporting(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    tunebase.troubles = [401]
    status.step(step(1))
    with pytest.raises(CallbackRejected):
        await asyncio.wait_for(status.report_forever(), 5)


async def test_an_end_brings_what_is_new_and_gives_up_when_its_patience_is_over(
    tunebase: FakeTunebase, status: CallbackClient
) -> None:
    status.step(step(1))
    tunebase.away = lambda name: name == "report"
    await status.failed(TrainerError("disk_full", "The disk is full.", "More room."), patience=1)
    assert tunebase.of("finish")[0]["error_code"] == "disk_full"
    tunebase.away = lambda name: True
    with pytest.raises(CallbackUnreachable):
        await status.finish("cancelled", patience=1)


async def test_progress_and_trained_tokens_never_fall(tunebase: FakeTunebase, status: CallbackClient) -> None:
    status.step(step(100))
    status.stage("loading_model", 1)
    status.resumed(step=3, epoch=0.3, trained_tokens=30)
    await status.report()
    report = tunebase.of("report")[-1]
    assert (report["progress"], report["trained_tokens"], report["total_epochs"]) == (5, 1000, 2)


async def test_without_an_address_nothing_is_said_to_nobody(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        silent = CallbackClient(session, None, None, "worker", 5)
        silent.begin(tmp_path, 1)
        silent.step(step(1))
        silent.log("info", "hello")
        assert (await silent.finish("cancelled")).accepted
        assert silent.snapshot()["current_step"] == 1
        assert silent.last_metric is not None and silent.last_metric.training_loss == 1
