"""RunPod's health checks while the engine loads, runs and dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tunebase_inference import front
from tunebase_inference.front import Front

# Listens once the file appears; responds to /ping with 200.
ENGINE = """
import http.server, os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def status(port: int, path: str = "/ping") -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    return await asyncio.to_thread(ask)


async def until(port: int, wanted: int) -> None:
    async with asyncio.timeout(10):
        while await status(port) != wanted:  # noqa: ASYNC110  (another process's)
            await asyncio.sleep(0.02)


async def test_204_while_it_loads_then_200_and_its_end_is_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "PROBE_SECONDS", 0.0)
    port, health = free_port(), free_port()
    loaded = tmp_path / "loaded"
    command = [sys.executable, "-c", ENGINE, str(loaded), str(port)]
    running = asyncio.create_task(Front(command, dict(os.environ), port, health, "127.0.0.1").run())
    await until(health, 204)
    assert await status(health, "/v1/models") == 404
    loaded.touch()
    await until(health, 200)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == -signal.SIGTERM


async def test_an_engine_that_dies_ends_the_container_with_its_status() -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    assert await Front(command, dict(os.environ), free_port(), free_port(), "127.0.0.1").run() == 3
