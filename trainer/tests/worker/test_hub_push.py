"""The push of a finished adapter to the Hugging Face Hub: huggingface_hub itself, against an emulator of its routes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.attempts import ended, quick  # noqa: F401 (a fixture)
from support.fake_hub_repositories import FakeHubRepositories
from support.fake_tunebase import FakeTunebase, run_input

from handler import handler
from tunebase_trainer.worker import hub_push, workdir
from tunebase_trainer.worker.hub_push import PushFailed

REPO = "acme/support-bot"
JOB = "ftjob-0123456789ab7def8123456789abcdef"
SAID = "the token is not in this message: [secret]"


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHubRepositories]:
    async with FakeHubRepositories() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.setenv("HF_PUSH_TOKEN", fake.token)
        monkeypatch.setattr(hub_push, "RETRY_SECONDS", 0.0)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield fake


# --- attempts, which push from a process of their own


async def train(tunebase: FakeTunebase, tmp_path: Path, private: bool = True, **behave: Any) -> dict[str, Any]:
    rows = json.dumps({"extra_files": ["README.md"], "steps": 1, "seconds": 0, **behave}).encode()
    tunebase.serve("rows.jsonl", rows)
    given = {"id": "rp-1", "input": run_input(tunebase, "base", huggingface={"repo": REPO, "private": private})}
    output = await ended(asyncio.create_task(handler(given)), tmp_path)
    assert "hf_write_token" not in json.dumps([output, tunebase.calls, given])
    return output


def events(tunebase: FakeTunebase, level: str) -> list[str]:
    return [
        event["message"]
        for event in tunebase.reported("events")
        if event["level"] == level and "Hugging Face Hub" in event["message"]
    ]


async def test_a_succeeded_job_pushes_what_was_stored_once_in_one_commit(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories
) -> None:
    output = await train(tunebase, tmp_path)
    repository = hub.repositories[REPO]
    assert (repository.private, repository.commits) == (True, [f"Upload the adapter of {JOB}"])
    assert repository.files == tunebase.stored and set(repository.files) > {"README.md", "manifest.json"}
    assert {file["path"]: file["sha256"] for file in output["manifest"]["files"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in repository.files.items() if path != "manifest.json"
    }
    (finish,) = tunebase.of("finish")
    assert finish["hub_url"] == f"{hub.url}/{REPO}"
    assert events(tunebase, "info") == [f"Pushed the adapter to the Hugging Face Hub: {hub.url}/{REPO}"]
    # Pushed when everything was verified, before the job succeeded.
    assert set(tunebase.verified) == set(repository.files) - {"manifest.json"}


async def test_a_job_that_is_cancelled_meanwhile_commits_nothing(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories
) -> None:
    def directive(name: str, body: dict[str, Any]) -> str | None:
        return "cancel" if name == "report" and "batch" in hub.requests else None

    tunebase.directives = directive
    assert (await train(tunebase, tmp_path))["status"] == "cancelled"
    assert (hub.repositories[REPO].files, "commit" in hub.requests) == ({}, False)
    assert [body["outcome"] for body in tunebase.of("finish")] == ["cancelled"]
    assert events(tunebase, "warn") == []


@pytest.mark.parametrize("end", ["time limit", "SIGTERM"])
async def test_a_hub_that_never_answers_leaves_the_job_succeeded(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    hub.silent = {"create"}
    monkeypatch.setattr(hub_push, "TIMEOUT_SECONDS", 1.0 if end == "time limit" else 100.0)

    async def terminate() -> None:
        await hub.asked.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    terminating = asyncio.create_task(terminate()) if end == "SIGTERM" else None
    assert (await train(tunebase, tmp_path))["status"] == "completed"
    if terminating is not None:
        await terminating
    reason = "it timed out after 1 second" if end == "time limit" else "the platform is stopping the worker"
    assert events(tunebase, "warn") == [
        f"The adapter was not pushed to the Hugging Face Hub: {reason}. The job is not affected. To push it yourself: "
        f"tunebase adapter push {JOB} {REPO}"
    ]
    assert "hub_url" not in tunebase.of("finish")[0]


async def test_without_a_token_there_is_one_warning(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_PUSH_TOKEN")
    assert (await train(tunebase, tmp_path, private=False))["status"] == "completed"
    (warning,) = events(tunebase, "warn")
    assert "no HF_PUSH_TOKEN; the operator must set it" in warning and warning.endswith(f" {REPO} --public")
    assert hub.requests == []


async def test_an_unexpected_error_leaves_the_job_succeeded(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object, **options: object) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(hub_push.HubPush, "_push", fail)
    assert (await train(tunebase, tmp_path))["status"] == "completed"
    (warning,) = events(tunebase, "warn")
    assert warning.startswith("The adapter was not pushed to the Hugging Face Hub: an unexpected OSError.")


async def test_a_public_repository_gets_no_rows(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories
) -> None:
    await train(tunebase, tmp_path, private=False, extra_files=["README.md", "samples.json"])
    assert "samples.json" in tunebase.stored
    assert set(hub.repositories[REPO].files) == set(tunebase.stored) - {"samples.json"}


async def test_a_failed_job_pushes_nothing(tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories) -> None:
    fail = {"code": "non_finite_loss", "message": "It diverged.", "hint": "Less."}
    assert (await train(tunebase, tmp_path, fail=fail))["status"] == "failed"
    assert hub.requests == []


# --- the push itself


def request(tmp_path: Path, weights: bytes = b"weights" * 1000, **changes: Any) -> dict[str, Any]:
    files = {"adapter_model.safetensors": weights, "README.md": b"---\nbase_model: a/b\n---\n", "manifest.json": b"{}"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = {name: str(tmp_path / name) for name in files}
    return {"repo": REPO, "private": True, "message": "Upload", "files": paths} | changes


async def push(hub: FakeHubRepositories, given: dict[str, Any], token: str | None = None) -> str:
    return await asyncio.to_thread(hub_push.push, given, token or hub.token, lambda: True, hub.url)


async def test_the_same_push_again_adds_no_commit_and_other_weights_add_one(
    tmp_path: Path, hub: FakeHubRepositories
) -> None:
    for _ in range(2):
        assert await push(hub, request(tmp_path)) == f"{hub.url}/{REPO}"
    assert len(hub.repositories[REPO].commits) == 1
    await push(hub, request(tmp_path, weights=b"others" * 1000))
    assert len(hub.repositories[REPO].commits) == 2
    assert hub.repositories[REPO].files["adapter_model.safetensors"] == b"others" * 1000


async def test_a_public_repository_is_pushed_to_only_if_the_job_says_so(
    tmp_path: Path, hub: FakeHubRepositories
) -> None:
    await push(hub, request(tmp_path, private=False))
    assert hub.repositories[REPO].private is False
    with pytest.raises(PushFailed, match="acme/support-bot is a public repository, and the job asks for a private one"):
        await push(hub, request(tmp_path, weights=b"secret"))
    assert len(hub.repositories[REPO].commits) == 1


@pytest.mark.parametrize(
    ("route", "statuses", "reason"),
    [
        ("create", [401], "the Hub rejects the worker's HF_PUSH_TOKEN (401)"),
        ("create", [403, 403], f"the worker's HF_PUSH_TOKEN cannot write to acme/support-bot (403: {SAID})"),
        ("commit", [403], f"the worker's HF_PUSH_TOKEN cannot write to acme/support-bot (403: {SAID})"),
        ("create", [503] * 4, f"the Hub responded with 503: {SAID}"),
        ("create", [400], f"the Hub responded with 400: {SAID}"),
    ],
)
async def test_a_rejected_push_says_why_without_the_token(
    tmp_path: Path, hub: FakeHubRepositories, route: str, statuses: list[int], reason: str
) -> None:
    hub.statuses = {route: statuses}
    with pytest.raises(PushFailed) as failed:
        await push(hub, request(tmp_path))
    assert str(failed.value) == reason and hub.token not in str(failed.value)


async def test_an_invalid_token_is_named_by_its_variable(tmp_path: Path, hub: FakeHubRepositories) -> None:
    with pytest.raises(PushFailed, match=r"^the Hub rejects the worker's HF_PUSH_TOKEN \(401\)$"):
        await push(hub, request(tmp_path), token="hf_other_token")


async def test_errors_that_may_pass_are_retried(tmp_path: Path, hub: FakeHubRepositories) -> None:
    hub.statuses = {"create": [429, 500]}
    hub.lost = {"commit"}  # committed, but without an answer
    assert await push(hub, request(tmp_path)) == f"{hub.url}/{REPO}"
    assert hub.requests.count("create") == 4 and len(hub.repositories[REPO].commits) == 1


async def test_a_hub_that_is_not_there_is_named_without_its_url(tmp_path: Path, hub: FakeHubRepositories) -> None:
    await hub.__aexit__()
    with pytest.raises(PushFailed, match=r"^the Hub does not respond \(ConnectError\)$"):
        await push(hub, request(tmp_path))


async def test_a_worker_called_directly_pushes_too(
    tunebase: FakeTunebase, tmp_path: Path, hub: FakeHubRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workdir, "is_on_volume", lambda: True)
    tunebase.serve("rows.jsonl", b'{"steps": 1, "seconds": 0}')
    given = run_input(tunebase, "base", huggingface={"repo": REPO}) | {"callback_url": None, "callback_secret": None}
    hub.statuses = {"create": [403, 403]}
    output = await handler({"id": "rp-1", "input": given})
    assert (output["status"], output["warning"]) == (
        "completed",
        "The adapter was not pushed to the Hugging Face Hub: the worker's HF_PUSH_TOKEN cannot write to "
        f"acme/support-bot (403: {SAID}).",
    )
    assert "repo" not in output
