"""How much GPU memory a run needs: the server's `contracts/gpu_memory.ts`, from counted parameters.

The constants are generated from there, and tests of both languages compute `tests/contract_cases.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..contract import CONTEXT_BYTES, NF4_BYTES, PLAIN_BYTES, TRAINABLE_BYTES

GIB = 2**30


@dataclass(frozen=True)
class ParameterCounts:
    """What takes memory in a model and its adapter: parameters, and values per token."""

    quantized: int
    plain: int
    """Parameters that stay in bf16."""
    layers: int
    hidden: int
    trainable: int
    dequantized: float
    """Parameters that are in bf16 only while their layer runs."""
    reads: float
    """Input values per token of the matrices of one layer."""


@dataclass(frozen=True)
class MemoryEstimate:
    """In bytes."""

    base: float
    packed: float
    """The part of `base` that is in NF4."""
    layers: int
    adapter: float
    layer: float
    per_token: float

    def required(self, tokens: int) -> float:
        return CONTEXT_BYTES + self.base + self.adapter + self.layer + self.per_token * tokens

    def sharded(self, gpus: int) -> MemoryEstimate:
        """For each of `gpus` GPUs with a sharded base: its part, and one complete layer (sharded_base.py)."""
        return replace(self, base=self.base - self.packed + self.packed / gpus + self.packed / self.layers)

    def max_row_tokens(self, available: float) -> int:
        """The longest row that fits, in tokens."""
        return math.floor((available - self.required(0)) / self.per_token)


def estimate_memory(counts: ParameterCounts) -> MemoryEstimate:
    packed = NF4_BYTES * counts.quantized
    return MemoryEstimate(
        base=packed + PLAIN_BYTES * counts.plain,
        packed=packed,
        layers=counts.layers,
        adapter=TRAINABLE_BYTES * counts.trainable,
        layer=PLAIN_BYTES * counts.dequantized,
        per_token=PLAIN_BYTES * (counts.layers * counts.hidden + counts.reads),
    )


def peak_memory() -> str | None:
    """A line for the job's log: the most memory that this process has used on its GPU; None on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1]
    return f"Peak GPU memory: {peak / GIB:.1f} of {total / GIB:.1f} GiB."
