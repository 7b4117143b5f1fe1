"""How much of a GPU's memory a run takes: the server's `contracts/gpu_memory.ts`, of counted parameters.

The constants are generated from there, and both compute the cases of `tests/contract_cases.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..contract import CONTEXT_BYTES, NF4_BYTES, PLAIN_BYTES, TRAINABLE_BYTES

GIB = 2**30


@dataclass(frozen=True)
class ParameterCounts:
    """What of a model and its adapter takes memory: parameters, and values per token."""

    quantized: int
    plain: int
    """Parameters that stay in bf16."""
    layers: int
    hidden: int
    trainable: int
    dequantized: float
    """Parameters that are in bf16 only while their layer computes."""
    reads: float
    """Values per token that the matrices of one layer read."""


@dataclass(frozen=True)
class MemoryEstimate:
    """In bytes."""

    base: float
    packed: float
    """Of the base, what is in NF4."""
    layers: int
    adapter: float
    layer: float
    per_token: float

    def needed(self, tokens: int) -> float:
        return CONTEXT_BYTES + self.base + self.adapter + self.layer + self.per_token * tokens

    def shared(self, gpus: int) -> MemoryEstimate:
        """Of each of so many GPUs that share the base: its part, and one layer whole (shared_base.py)."""
        return replace(self, base=self.base - self.packed + self.packed / gpus + self.packed / self.layers)

    def longest(self, available: float) -> int:
        """The most tokens that one row may have."""
        return math.floor((available - self.needed(0)) / self.per_token)


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
