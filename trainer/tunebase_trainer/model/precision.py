"""The number format that a training computes in."""

import os
from functools import cache

import torch


@cache
def compute_dtype() -> torch.dtype:
    """bf16, except on a CPU without bf16 instructions if `TUNEBASE_CPU_DTYPE=auto`: then fp32.

    Such a CPU (AVX2 only) emulates bf16: measured on an AMD EPYC with 2 cores, a matrix product of 1024 x 1024 ran at
    0.7 GFLOP/s in bf16 and at 59 in fp32. The embedded stack sets `auto`; a GPU is never affected.
    """
    if torch.cuda.is_available() or os.environ.get("TUNEBASE_CPU_DTYPE") != "auto":
        return torch.bfloat16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def autocast(device: str) -> torch.autocast:
    """Autocast to bf16, or none where the model itself is in fp32."""
    return torch.autocast(device, torch.bfloat16, enabled=compute_dtype() == torch.bfloat16)
