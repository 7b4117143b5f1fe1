"""The worker's settings, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VOLUME = Path("/runpod-volume")
GB = 10**9
# The ranks that vLLM has kernels for (vllm.config.lora.MaxLoRARanks).
MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Settings:
    secret: str
    endpoint_id: str
    base_model: str
    base_revision: str | None
    # The model that the engine loads: a directory or the base model's id. Adapters must name it as their base.
    base_path: str
    adapter_directory: Path
    cache_bytes: int
    max_rank: int
    allow_loopback: bool

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises a ValueError that names a missing or invalid setting."""

        def required(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise ValueError(f"{name} is not set. See inference/README.md.")
            return value

        def number(name: str, default: int) -> int:
            text = environment.get(name) or str(default)
            if not text.isascii() or not text.isdigit() or int(text) < 1:
                raise ValueError(f"{name} = {text!r}: must be a positive integer.")
            return int(text)

        secret = required("TUNEBASE_INFERENCE_SECRET")
        if len(secret) < 32:
            raise ValueError("TUNEBASE_INFERENCE_SECRET is too short: it must have at least 32 characters.")
        base_model = required("TUNEBASE_BASE_MODEL")
        max_rank = number("TUNEBASE_MAX_LORA_RANK", 64)
        if max_rank not in MAX_LORA_RANKS:
            raise ValueError(f"TUNEBASE_MAX_LORA_RANK = {max_rank}: must be one of {MAX_LORA_RANKS}.")
        root = VOLUME if VOLUME.is_dir() else Path("/tmp")  # noqa: S108  (a container of its own)
        return Settings(
            secret=secret,
            endpoint_id=environment.get("TUNEBASE_ENDPOINT_ID") or required("RUNPOD_ENDPOINT_ID"),
            base_model=base_model,
            base_revision=environment.get("TUNEBASE_BASE_REVISION") or None,
            base_path=environment.get("TUNEBASE_BASE_PATH") or base_model,
            adapter_directory=Path(environment.get("TUNEBASE_ADAPTER_DIR") or root / "tunebase/adapters"),
            cache_bytes=number("TUNEBASE_ADAPTER_CACHE_BYTES", 20 * GB),
            max_rank=max_rank,
            allow_loopback=environment.get("TUNEBASE_ALLOW_LOOPBACK") == "1",
        )


@cache
def settings() -> Settings:
    """This process's settings."""
    return Settings.from_environment()
