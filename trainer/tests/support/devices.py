"""The devices that a test runs on: the CPU, which proves its reference right, and a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA; on a GPU: python -m pytest tests/gpu")
needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")

DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


def relative_error(found: torch.Tensor, true: torch.Tensor) -> float:
    """How far `found` is from `true`, relative to its norm, in fp64 on the CPU."""
    exact = true.detach().double().cpu()
    return float((found.detach().double().cpu() - exact).norm() / exact.norm())
