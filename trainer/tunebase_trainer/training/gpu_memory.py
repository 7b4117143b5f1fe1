"""Estimates a run's GPU memory like the server's `contracts/gpu_memory.ts`, but from counted parameters.

The constants are generated from that file, and tests of both languages compute the cases in
`tests/contract_cases.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from ..contract import (
    CONTEXT_BYTES,
    HEADROOM,
    LOGIT_BYTES,
    MICRO_BATCH_TOKENS,
    NF4_BYTES,
    OVERHEAD_BYTES,
    PLAIN_BYTES,
    PLAIN_LAYERS,
    TRAINABLE_BYTES,
)

GIB = 2**30

Quantization = Literal["nf4", "none"]
"""The base model's number format in memory; `none` is bf16."""
LOSS_BYTES = 2**30
"""The loss on a GPU: 2**26 logits at a time (loss.py), once in bf16 and three times in fp32, rounded up."""
FORMAT_NAMES: dict[Quantization, str] = {"nf4": "NF4", "none": "bf16"}


@dataclass(frozen=True)
class ParameterCounts:
    """The parameters and values per token of a model and its adapter that take memory."""

    quantizable: int
    """Parameters that NF4 quantizes."""
    plain: int
    """Parameters that stay in bf16."""
    layers: int
    hidden: int
    trainable: int
    dequantized: float
    """Parameters that are in bf16 only while their layer runs, if the base is in NF4."""
    reads: float
    """Input values per token of one layer's matrices."""


@dataclass(frozen=True)
class MemoryEstimate:
    """In bytes."""

    base: float
    matrices: float
    """The part of `base` that can be sharded."""
    layers: int
    whole_layers: int
    """Complete layers on each GPU while the base is sharded."""
    adapter: float
    layer: float
    per_token: float

    def required(self, tokens: int) -> float:
        """A lower bound: a run that needs more than the GPU has cannot start."""
        return CONTEXT_BYTES + self.base + self.adapter + self.layer + self.per_token * tokens

    def likely(self, tokens: int, vocabulary: int) -> float:
        """The expected use: the lower bound plus approximations of what depends on kernels and data."""
        return self.required(tokens) + OVERHEAD_BYTES + LOGIT_BYTES * tokens * vocabulary

    def sharded(self, gpus: int) -> MemoryEstimate:
        """Per GPU if the base is sharded over `gpus`: its shard, plus the layers that are gathered
        (sharded_base.py)."""
        parts = self.matrices / gpus + self.whole_layers * self.matrices / self.layers
        return replace(self, base=self.base - self.matrices + parts)

    def max_row_tokens(self, available: float) -> int:
        """The longest row that fits, in tokens."""
        return math.floor((available - self.required(0)) / self.per_token)


def estimate_memory(counts: ParameterCounts, quantization: Quantization) -> MemoryEstimate:
    nf4 = quantization == "nf4"
    matrices = (NF4_BYTES if nf4 else PLAIN_BYTES) * counts.quantizable
    return MemoryEstimate(
        base=matrices + PLAIN_BYTES * counts.plain,
        matrices=matrices,
        layers=counts.layers,
        whole_layers=1 if nf4 else PLAIN_LAYERS,
        adapter=TRAINABLE_BYTES * counts.trainable,
        layer=PLAIN_BYTES * counts.dequantized if nf4 else 0,
        per_token=PLAIN_BYTES * (counts.layers * counts.hidden + counts.reads),
    )


def is_sharded(memory: MemoryEstimate, tokens: int, vocabulary: int, available: float, gpus: int) -> bool:
    """Whether to shard the base across `gpus` instead of loading all of it on each.

    True if a single GPU probably cannot hold it together with `tokens`, the longest row.
    """
    return gpus > 1 and memory.likely(tokens, vocabulary) > available


def automatic_quantization(
    counts: ParameterCounts, tokens: int, vocabulary: int, available: float, gpus: int
) -> Quantization:
    """Resolves `auto` for GPUs with `available` bytes each.

    bf16 if the base and full micro-batches fit on each GPU, whole or sharded across `gpus`; otherwise NF4.
    """
    whole = estimate_memory(counts, "none")
    layouts = [whole, whole.sharded(gpus)] if gpus > 1 else [whole]
    fits = any(HEADROOM * layout.likely(tokens, vocabulary) <= available for layout in layouts)
    return "none" if fits else "nf4"


def fitting_micro_batch(memory: MemoryEstimate, longest: int, available: float) -> int:
    """The maximum padded tokens per micro-batch that fit in `available` bytes, up to MICRO_BATCH_TOKENS.

    At least `longest`, the padded tokens of one example. There is no safety margin: the largest micro-batch runs before
    the first step, and if the GPU runs out of memory, half as many tokens are tried (oom.py).
    """
    room = (available - memory.required(0) - OVERHEAD_BYTES - LOSS_BYTES) / memory.per_token
    return max(longest, min(MICRO_BATCH_TOKENS, math.floor(room) // 256 * 256))


def peak_memory() -> str | None:
    """A line for the job's log with this process's peak GPU memory; None on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1]
    return f"Peak GPU memory: {peak / GIB:.1f} of {total / GIB:.1f} GiB."
