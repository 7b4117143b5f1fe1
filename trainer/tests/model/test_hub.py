"""Downloads from a Hugging Face hub: the real client against an emulator of the routes that it calls."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.paths import TRAINER

from tunebase_trainer.model import hub
from tunebase_trainer.model.locking import lock

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Imitates huggingface.co for one model: its revision, its tree, and its files, or an error for every request."""

    def __init__(self) -> None:
        self.files = {
            "config.json": b'{"model_type": "llama"}',
            "tokenizer.json": b"{}",
            "model.safetensors": b"w" * 5_000_000,
            "consolidated.safetensors": b"w" * 5_000_000,
            "README.md": b"# Model",
        }
        self.error: tuple[int, str] | None = None
        self.downloaded: list[str] = []
        self.before_weights = threading.Event()
        self.before_weights.set()
        hub_state = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                path = self.path.split("?")[0]
                if path == "/progress-reported":
                    hub_state.before_weights.set()
                    return self.send(200, b"", {}, body)
                if hub_state.error is not None:
                    status, code = hub_state.error
                    return self.send(status, b"{}", {"X-Error-Code": code} if code else {}, body)
                if path.startswith("/api/models/"):
                    entries = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in hub_state.files.items()
                    ]
                    siblings = [{"rfilename": name, "size": len(data)} for name, data in hub_state.files.items()]
                    info = {"id": "org/model", "sha": COMMIT, "siblings": siblings}
                    return self.send(200, json.dumps(entries if "/tree/" in path else info).encode(), {}, body)
                name = path.rsplit("/", 1)[-1]
                if name not in hub_state.files:
                    return self.send(404, b"", {}, body)
                data = hub_state.files[name]
                if body:
                    if name == "model.safetensors":
                        hub_state.before_weights.wait(30)
                    hub_state.downloaded.append(name)
                etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
                return self.send(200, data, etag, body)

            def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    fake = FakeHub()
    yield fake
    fake.server.shutdown()


SCRIPT = """
import json, os, sys, urllib.request
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import base_model, hub
hub.PROGRESS_SECONDS = 0.2
lines = []
def report(line):
    lines.append(line)
    urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/progress-reported").close()
try:
    base = base_model.resolve("org/model", "main")
    metadata = sorted(path.name for path in base.path.iterdir())
    if sys.argv[1] == "weights":
        base.fetch_weights(report)
    print(json.dumps({"revision": base.revision, "metadata": metadata, "lines": lines,
                      "files": sorted(path.name for path in base.path.iterdir())}))
except TrainerError as error:
    print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))
"""


def resolve(fake: FakeHub, cache: Path, what: str = "weights", **env: str) -> Any:
    """In a process of its own: the hub's client reads its settings when it is imported."""
    environment = {
        **os.environ, "HF_ENDPOINT": fake.url, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env,
    }  # fmt: skip
    environment.pop("HF_HUB_OFFLINE", None) if "HF_HUB_OFFLINE" not in env else None
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what], cwd=TRAINER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_small_files_come_first_and_the_weights_once_and_only_when_asked_for(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    first = resolve(fake_hub, tmp_path, "metadata")
    assert first["files"] == ["config.json", "tokenizer.json"] and first["revision"] == COMMIT
    assert sorted(fake_hub.downloaded) == ["config.json", "tokenizer.json"]
    second = resolve(fake_hub, tmp_path)
    assert second["files"] == ["config.json", "model.safetensors", "tokenizer.json"], "no consolidated.safetensors"
    assert sorted(fake_hub.downloaded) == ["config.json", "model.safetensors", "tokenizer.json"]
    offline = resolve(fake_hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline["files"] == second["files"] and len(fake_hub.downloaded) == 3


@pytest.mark.parametrize(
    ("status", "header", "code", "words"),
    [
        (403, "GatedRepo", "base_model_not_found", "accept the license at https://huggingface.co/org/model"),
        (401, "RepoNotFound", "base_model_not_found", "is private"),
        (404, "RevisionNotFound", "base_model_not_found", "base_models.revision"),
        (503, "", "base_model_unreachable", "The job will be retried."),
    ],
)
def test_each_refusal_of_the_hub_says_what_to_do(
    fake_hub: FakeHub, tmp_path: Path, status: int, header: str, code: str, words: str
) -> None:
    fake_hub.error = status, header
    error = resolve(fake_hub, tmp_path)
    assert error["code"] == code and words in f"{error['message']} {error['hint']}", error


def test_an_unreachable_hub_is_tried_again_and_an_offline_worker_is_the_operators_matter(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    assert resolve(fake_hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:1")["code"] == "base_model_unreachable"
    offline = resolve(fake_hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline["code"] == "base_model_not_found" and "HF_HUB_OFFLINE" in offline["hint"]


def test_repositories_without_config_or_safetensors_are_refused(fake_hub: FakeHub, tmp_path: Path) -> None:
    del fake_hub.files["model.safetensors"], fake_hub.files["consolidated.safetensors"]
    assert "no weights in safetensors format" in resolve(fake_hub, tmp_path)["message"]
    del fake_hub.files["config.json"]
    assert "no config.json" in resolve(fake_hub, tmp_path / "other")["message"]


def test_a_long_download_reports_its_progress(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.before_weights.clear()  # the first line of progress releases the weights
    lines = resolve(fake_hub, tmp_path)["lines"]
    assert lines and all(line.startswith("Downloading the base model: 0.0 of 0.0 GB") for line in lines)


def test_progress_says_how_many_minutes_are_left() -> None:
    assert hub.download_progress(0, 163_000_000_000, 20) == "Downloading the base model: 0.0 of 163.0 GB."
    assert hub.download_progress(12_300_000_000, 163_000_000_000, 60) == (
        "Downloading the base model: 12.3 of 163.0 GB, about 12 minutes left."
    )
    assert hub.download_progress(99_000_000_000, 100_000_000_000, 60).endswith("less than a minute left.")
    assert hub.download_progress(10**12, 10**9, 60).startswith("Downloading the base model: 1.0 of 1.0 GB")


def test_a_second_worker_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    waited = threading.Event()
    order: list[str] = []

    def second() -> None:
        with lock(tmp_path / "model", waited.set):
            order.append("second")

    with lock(tmp_path / "model"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_may_only_be_read_needs_no_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with lock(tmp_path / "model"):
        pass
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"), lock(tmp_path / "model"):
        pass


def test_a_full_disk_is_recognized_however_it_is_wrapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors import SafetensorError

    from tunebase_trainer.worker.error_mapping import to_worker_error

    wrapped = RuntimeError("could not write")
    wrapped.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/1"),
        wrapped,
    ):
        assert to_worker_error(error).code == "disk_full", error
    assert to_worker_error(RuntimeError("something else")).code == "internal_error"
