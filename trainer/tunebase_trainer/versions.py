"""The library versions and the GPU that an adapter was trained with."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache

import torch


@cache
def _version(library: str) -> str:
    return importlib.metadata.version(library)


def library_versions() -> dict[str, str]:
    """The values for the manifest."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "runpod")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "gpu": gpu} | {name: _version(name) for name in names}
