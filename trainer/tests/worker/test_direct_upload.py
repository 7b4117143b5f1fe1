"""A worker that is called directly keeps its adapter: on the volume, or as a tar at adapter_upload_url."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from support.fake_tunebase import SCHEMAS, FakeTunebase, run_input
from support.paths import SUPPORT

import handler
from tunebase_trainer.worker import direct_upload, workdir


class UploadServer:
    """Accepts PUT requests; `statuses` are those of the next ones, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def put(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=status)


@pytest.fixture
async def server() -> AsyncIterator[UploadServer]:
    made = UploadServer()
    app = web.Application(client_max_size=2**26)
    app.router.add_put("/adapter.tar", made.put)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/adapter.tar?signature=secret-signature"
    yield made
    await runner.cleanup()


@pytest.fixture(autouse=True)
def stub_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBASE_TRAIN_COMMAND", f"'{sys.executable}' -u '{SUPPORT / 'stub_training.py'}'")
    monkeypatch.setattr(direct_upload, "MAX_TRIES", 2)


async def run(tunebase: FakeTunebase, upload_url: str | None = None) -> dict[str, Any]:
    tunebase.serve("rows.jsonl", json.dumps({"steps": 3, "extra_files": ["README.md"]}).encode())
    given = {name: value for name, value in run_input(tunebase, "base").items() if not name.startswith("callback_")}
    output = await handler.handler({"id": "rp-1", "input": given | {"adapter_upload_url": upload_url}})
    jsonschema.Draft202012Validator(SCHEMAS["HandlerOutput"]).validate(output)
    return output


async def test_the_adapter_is_uploaded_as_a_tar_with_every_file(
    tunebase: FakeTunebase, server: UploadServer, caplog: pytest.LogCaptureFixture
) -> None:
    output = await run(tunebase, server.url)
    assert output["status"] == "completed" and "warning" not in output
    (body,) = server.bodies
    assert output["adapter_uploaded"] == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert (server.headers[0]["content-type"], server.headers[0]["content-length"]) == (
        "application/x-tar", str(len(body))
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        sizes = {member.name: member.size for member in tar.getmembers()}
    assert sizes == {file["path"]: file["bytes"] for file in output["manifest"]["files"]}
    assert set(sizes) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert not list(Path(output["adapter_path"]).parent.glob("*.tar"))
    job = handler.jobs.get_status(output["job_id"])
    assert job is not None and (job["status"], job["progress"], job["stage"]) == ("completed", 100, "completed")
    assert "secret-signature" not in caplog.text + json.dumps(output)


async def test_a_server_error_is_retried(tunebase: FakeTunebase, server: UploadServer) -> None:
    server.statuses = [503]
    assert (await run(tunebase, server.url))["status"] == "completed"
    assert len(server.bodies) == 1


@pytest.mark.parametrize("statuses", [[403], [500, 500], [302]])
async def test_a_failed_upload_fails_the_attempt_without_naming_the_url(
    tunebase: FakeTunebase, server: UploadServer, statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    server.statuses = list(statuses)
    output = await run(tunebase, server.url)
    assert (output["status"], output["error_code"]) == ("failed", "upload_failed")
    assert str(statuses[0]) in output["error"] and "adapter_upload_url" in output["hint"]
    assert "secret-signature" not in caplog.text + json.dumps(output)
    job = handler.jobs.get_status(output["job_id"])
    assert job is not None and (job["status"], job["error_code"]) == ("failed", "upload_failed")


async def test_without_a_volume_and_an_upload_url_there_is_a_warning(
    tunebase: FakeTunebase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    output = await run(tunebase)
    assert output["status"] == "completed" and "adapter_uploaded" not in output
    assert output["warning"] == direct_upload.LOST_WITH_THE_CONTAINER
    assert direct_upload.LOST_WITH_THE_CONTAINER in caplog.text


async def test_with_a_network_volume_there_is_no_warning(
    tunebase: FakeTunebase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workdir, "VOLUME", tmp_path)
    assert "warning" not in await run(tunebase)


@pytest.mark.parametrize("url", ["http://example.com/adapter.tar", "file:///tmp/adapter.tar", "adapter.tar"])
async def test_an_upload_url_must_be_https(tunebase: FakeTunebase, url: str) -> None:
    given = {name: value for name, value in run_input(tunebase, "base").items() if not name.startswith("callback_")}
    output = await handler.handler({"id": "rp-1", "input": given | {"adapter_upload_url": url}})
    assert output["error_code"] == "invalid_input" and "adapter_upload_url" in output["error"]


async def test_loopback_http_needs_the_operators_permission(
    tunebase: FakeTunebase, server: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNEBASE_ALLOW_LOOPBACK")
    given = {name: value for name, value in run_input(tunebase, "base").items() if not name.startswith("callback_")}
    given |= {"dataset_url": "https://example.com/rows.jsonl", "adapter_upload_url": server.url}
    output = await handler.handler({"id": "rp-1", "input": given})
    assert output["error_code"] == "invalid_input" and "adapter_upload_url" in output["error"]


async def test_an_upload_url_is_rejected_together_with_a_callback_url(
    tunebase: FakeTunebase, server: UploadServer
) -> None:
    given = run_input(tunebase, "base") | {"adapter_upload_url": server.url}
    output = await handler.handler({"id": "rp-1", "input": given})
    assert output["error_code"] == "invalid_input" and "adapter_upload_url" in output["error"]


async def test_a_failed_dataset_download_says_to_check_the_dataset_url(
    tunebase: FakeTunebase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebase_trainer.worker.transfers.MAX_TRIES", 1)
    given = {name: value for name, value in run_input(tunebase, "base").items() if not name.startswith("callback_")}
    output = await handler.handler({"id": "rp-1", "input": given | {"dataset_url": f"{tunebase.url}/files/gone"}})
    assert output["error_code"] == "dataset_unreachable"
    assert output["hint"].startswith("Check the dataset URL")
