"""Recognizes errors of the GPU by their text: torch raises a class of its own only for those of its allocator."""

from __future__ import annotations

import torch

# Of cuBLAS, cuDNN, the driver, and NCCL, whose workspaces torch's allocator does not provide.
OUT_OF_MEMORY = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "Cuda failure 'out of memory'",
    "Cuda failure 2 'out of memory'",
)


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether the GPU ran out of memory, in any library's wrapping."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
