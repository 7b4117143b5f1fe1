"""Runs vLLM, and responds to RunPod's health checks on a separate port, because vLLM does not listen while it loads.

RunPod routes requests to a worker only while `GET /ping` on PORT_HEALTH returns 200. 204 means that it is still
loading.
"""

from __future__ import annotations

import asyncio
import signal
import time

PROBE_SECONDS = 1.0
# How long vLLM may take to shut down before it is killed.
GRACE_SECONDS = 25.0


class Front:
    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        port: int,
        health_port: int,
        host: str = "0.0.0.0",  # noqa: S104
    ) -> None:
        self._command = command
        self._environment = environment
        self._port = port
        self._health_port = health_port
        self._host = host
        self._was_ready = False
        self._probed = (0.0, 204)

    async def run(self) -> int:
        """Returns vLLM's exit status once it has ended."""
        server = await asyncio.start_server(self._answer, self._host, self._health_port)
        engine = await asyncio.create_subprocess_exec(*self._command, env=self._environment)
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopping.set)
        ended = asyncio.create_task(engine.wait())
        stopped = asyncio.create_task(stopping.wait())
        async with server:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if engine.returncode is None:
                engine.terminate()
                try:
                    await asyncio.wait_for(asyncio.shield(ended), GRACE_SECONDS)
                except TimeoutError:
                    engine.kill()
        stopped.cancel()
        return await ended

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            path = request.split(b" ", 2)[1].split(b"?")[0] if request.count(b" ") >= 2 else b""
            status = await self._status() if path in (b"/ping", b"/health") else 404
            writer.write(b"HTTP/1.1 %d \r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # no request, or the prober has disconnected
        finally:
            writer.close()

    async def _status(self) -> int:
        """200 if ready, 204 if loading, 503 if vLLM was ready but no longer responds."""
        probed_at, status = self._probed
        if time.monotonic() - probed_at < PROBE_SECONDS:
            return status
        engine = await self._probe()
        if engine == 200:
            self._was_ready = True
        status = 200 if engine == 200 else 503 if self._was_ready else 204
        self._probed = (time.monotonic(), status)
        return status

    async def _probe(self) -> int:
        """The status of vLLM's own /ping, or 0."""
        writer = None
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(b"GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                line = await reader.readline()
            return int(line.split(b" ")[1])
        except (OSError, TimeoutError, IndexError, ValueError):
            return 0
        finally:
            if writer is not None:
                writer.close()
