"""vLLM's command line and environment for these settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from .settings import Settings
from .token import BASE_NAME

MIDDLEWARE = "tunebase_inference.middleware.TokenMiddleware"


def engine_command(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Raises a ValueError that names an invalid setting."""
    adapters = int(environment.get("TUNEBASE_MAX_LORAS") or 8)
    cpu_adapters = max(int(environment.get("TUNEBASE_MAX_CPU_LORAS") or 64), adapters + 1)
    command = ["vllm", "serve", settings.base_path, "--served-model-name", BASE_NAME]
    if settings.base_revision is not None and settings.base_path == settings.base_model:
        command += ["--revision", settings.base_revision, "--tokenizer-revision", settings.base_revision]
    if environment.get("TUNEBASE_MAX_LENGTH"):
        command += ["--max-model-len", environment["TUNEBASE_MAX_LENGTH"]]
    return [
        *command,
        *("--host", "0.0.0.0"),  # noqa: S104  (RunPod's proxy connects from outside the container)
        *("--port", environment.get("PORT") or "80"),
        "--enable-lora",
        *("--max-lora-rank", str(settings.max_rank)),
        # One more slot than adapters per batch: some kernels treat "no adapter" as the last slot, which must be empty.
        *("--max-loras", str(adapters + 1)),
        *("--max-cpu-loras", str(cpu_adapters)),
        *("--middleware", MIDDLEWARE),
        # No logs of prompts, which belong to users, and no access logs, which RunPod has.
        "--no-enable-log-requests",
        "--disable-uvicorn-access-log",
        *shlex.split(environment.get("TUNEBASE_VLLM_ARGS") or ""),
    ]


def engine_environment(environment: Mapping[str, str], volume: Path) -> dict[str, str]:
    result = {
        **environment,
        # Without it, vLLM does not call resolvers. Its routes for loading adapters are blocked by the middleware.
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "tunebase",
        "VLLM_NO_USAGE_STATS": "1",
    }
    # RunPod caches models there, shared by the endpoint's workers.
    hub = volume / "huggingface-cache/hub"
    if volume.is_dir() and "HF_HUB_CACHE" not in environment:
        result["HF_HUB_CACHE"] = str(hub)
    return result
