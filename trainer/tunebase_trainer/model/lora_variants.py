"""Variants of LoRA: `dora` is PEFT's own; `pissa` is an initialization that leaves the base model unchanged.

PiSSA trains the principal singular vectors of each weight W: A and B start as A₀ and B₀, and the base becomes the
residual W - B₀A₀. PEFT writes that residual into the base model. That does not work in NF4, and would also change the
model that a run compares with. W + BA - B₀A₀ is the same function: a plain LoRA of twice the rank, whose second half is
frozen at A₀ and -B₀. PEFT creates the same adapter when it converts PiSSA to LoRA. So every checkpoint loads on the
unmodified base.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight

from ..errors import TrainerError
from .targets import Targets

# Larger matrices use a randomized decomposition. Additional vectors and several iterations make it accurate.
EXACT_SVD_SIZE, OVERSAMPLING, SVD_ITERATIONS = 512, 2, 4
MAX_PISSA_RANK = 64
"""The maximum rank, because the adapter has twice as much. `training_config.ts` has the same limit."""


def adapter_rank(variant: str, rank: int) -> int:
    """The rank of the adapter's matrices."""
    return 2 * rank if variant == "pissa" else rank


def check_variant(
    variant: str, chosen: Targets, *, rank: int, rslora: bool, weight_decay: float, sharded: bool
) -> None:
    """Raises TrainerError `invalid_input` for what the variant does not support."""
    if variant == "lora":
        return
    problem = None
    if chosen.experts:
        problem = "lora_targets = experts", "lora_targets = all-linear"
    elif sharded:
        problem = "a base model that is sharded over several GPUs", "a GPU with more memory"
    elif variant == "pissa" and rslora:
        problem = "use_rslora = true", "use_rslora = false"
    elif variant == "pissa" and weight_decay > 0:
        problem = f"weight_decay = {weight_decay:g}", "weight_decay = 0"
    elif variant == "pissa" and rank > MAX_PISSA_RANK:
        problem = f"lora_rank = {rank}", f"lora_rank = {MAX_PISSA_RANK} or less"
    if problem is not None:
        raise TrainerError(
            "invalid_input",
            f"lora_variant = {variant} does not support {problem[0]}.",
            f"Use {problem[1]}, or lora_variant = lora.",
        )


@torch.no_grad()
def initialize_pissa(net: torch.nn.Module, rank: int) -> None:
    """Initializes adapters of twice the `rank`, and freezes their second halves."""
    for path, layer in net.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        weight = dequantize_module_weight(layer.get_base_layer()).float()
        if rank > min(weight.shape):
            raise TrainerError(
                "invalid_input",
                f"lora_rank = {rank}: {path} has only {min(weight.shape)} singular vectors for lora_variant = pissa.",
                f"Use lora_rank = {min(weight.shape)} or less.",
            )
        left, values, right = principal_vectors(weight, rank)
        (name,) = layer.active_adapters
        root = (values / layer.scaling[name]).sqrt()
        down, up = root[:, None] * right, left * root
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        a.copy_(torch.cat([down, down]))
        b.copy_(torch.cat([up, -up], dim=1))
        a.register_hook(_without_second_rows(rank))
        b.register_hook(_without_second_columns(rank))


def principal_vectors(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U [out, rank], S [rank] and V [rank, in] of the largest singular values, where the weight is about U S V."""
    if min(weight.shape) <= EXACT_SVD_SIZE:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
    else:
        wanted = min(OVERSAMPLING * rank, *weight.shape)
        left, values, transposed = torch.svd_lowrank(weight, wanted, niter=SVD_ITERATIONS)
        right = transposed.T
    return left[:, :rank], values[:rank], right[:rank]


def _without_second_rows(rank: int) -> Any:
    def without(gradient: torch.Tensor) -> torch.Tensor:
        return torch.cat([gradient[:rank], torch.zeros_like(gradient[rank:])])

    return without


def _without_second_columns(rank: int) -> Any:
    def without(gradient: torch.Tensor) -> torch.Tensor:
        return torch.cat([gradient[:, :rank], torch.zeros_like(gradient[:, rank:])], dim=1)

    return without
