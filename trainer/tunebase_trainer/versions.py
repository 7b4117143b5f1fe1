"""What an adapter was made with."""

from __future__ import annotations

import importlib.metadata
import platform

import torch


def made_with() -> dict[str, str]:
    """What the adapter was made with, for its manifest."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "runpod")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "gpu": gpu} | {
        name: importlib.metadata.version(name) for name in names
    }
