"""The versions of the libraries, and the GPU, that made an adapter."""

from __future__ import annotations

import importlib.metadata
import platform

import torch


def library_versions() -> dict[str, str]:
    """Recorded in the manifest."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "runpod")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "gpu": gpu} | {
        name: importlib.metadata.version(name) for name in names
    }
