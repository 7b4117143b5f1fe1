"""The container's command: starts vLLM, and responds to RunPod's health checks while it loads."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from .engine_command import engine_command, engine_environment
from .front import Front
from .settings import VOLUME, Settings


def main() -> int:
    try:
        settings = Settings.from_environment()
        command = engine_command(settings, os.environ)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    port = int(os.environ.get("PORT") or 80)
    health_port = int(os.environ.get("PORT_HEALTH") or 8080)
    if port == health_port:
        print("PORT and PORT_HEALTH must differ: vLLM does not listen while it loads.", file=sys.stderr)
        return 2
    environment = engine_environment(os.environ, Path(VOLUME))
    return asyncio.run(Front(command, environment, port, health_port).run())


if __name__ == "__main__":
    sys.exit(main())
