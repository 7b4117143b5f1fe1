"""Recognizes GPU errors by their text: torch has a separate exception class only for errors of its allocator."""

from __future__ import annotations

import torch

# From cuBLAS, cuDNN, the driver and NCCL, whose workspaces torch's allocator does not provide.
OUT_OF_MEMORY = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "Cuda failure 'out of memory'",
    "Cuda failure 2 'out of memory'",
)


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether the GPU ran out of memory, whichever library reports it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
