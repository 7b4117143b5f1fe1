"""The modules that LoRA trains, by architecture.

An adapter with default targets loads in stock PEFT, for every architecture here (tested). PEFT 0.21 maps any
gate/up/down name of a MoE model to all routed experts, so the shared expert is an option and not part of the default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import TrainerError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
EXPERT_RANK = 2
"""The maximum rank for routed experts. With attention's rank, 512 of them would have as many parameters as a model."""


@dataclass(frozen=True)
class Family:
    """The trainable parts of an architecture."""

    attention: tuple[str, ...] = ATTENTION
    """Leaf names of the attention's Linear modules, which no other modules have."""
    mlp: tuple[str, ...] = ()
    """The same for the MLP of a dense model."""
    shared_expert: bool = False
    """Has `mlp.shared_expert.{gate,up,down}_proj`."""
    experts: bool = False
    """Has `mlp.experts.{gate_up,down}_proj`, fused."""


DENSE = Family(mlp=MLP)
FAMILIES: dict[str, Family] = {
    "gemma": DENSE,
    "gemma2": DENSE,
    "gemma3_text": DENSE,
    "llama": DENSE,  # and SmolLM, SmolLM2
    "mistral": DENSE,
    "qwen2": DENSE,
    "qwen3": DENSE,
    "smollm3": DENSE,
    "mixtral": Family(experts=True),
    "qwen3_moe": Family(experts=True),
    # Three of four layers use linear attention, which counts as attention. in_proj_ba (gates, 64 outputs) stays frozen.
    "qwen3_next": Family((*ATTENTION, "in_proj_qkvz", "out_proj"), shared_expert=True, experts=True),
}


@dataclass(frozen=True)
class Targets:
    """The targets of one adapter: PEFT's names, and the modules and parameters that they must select."""

    modules: tuple[str, ...]
    shared_expert: bool = False
    experts: bool = False

    @property
    def loads_in_stock_peft(self) -> bool:
        """Whether stock PEFT can load the adapter. It mistakes a shared expert's names for those of routed experts."""
        return not self.shared_expert

    def includes(self, path: str) -> bool:
        """Whether the Linear module at `path` is trained."""
        *parents, leaf = path.split(".")
        if "shared_expert" in parents:
            return self.shared_expert and leaf in MLP
        return leaf in self.modules


def resolve(net: torch.nn.Module, choice: str) -> Targets:
    """The targets of a model for a value of `lora_targets`. Raises TrainerError `invalid_input`.

    For an architecture that is not in the table, these are the attention projections: the Linear modules inside modules
    named `…attn…` or `…attention…` whose names occur nowhere else.
    """
    config: Any = net.config
    family = FAMILIES.get(config.model_type) or _attention_of_unknown(net, config)
    if choice == "all-linear":
        return Targets(family.attention + family.mlp)
    if choice == "attention":
        return Targets(family.attention)
    has = {"shared_expert": family.shared_expert, "experts": family.experts}
    if not has.get(choice):
        possible = ["all-linear", "attention", *(name for name, there in has.items() if there)]
        raise TrainerError(
            "invalid_input",
            f"lora_targets = {choice!r}: not supported for {config.model_type} models.",
            f"Use one of {', '.join(possible)}.",
        )
    return Targets(family.attention, shared_expert=choice == "shared_expert", experts=choice == "experts")


def _attention_of_unknown(net: torch.nn.Module, config: Any) -> Family:
    inside, outside = set[str](), set[str]()
    for path, module in net.named_modules():
        if isinstance(module, torch.nn.Linear):
            *parents, leaf = path.split(".")
            attention = any("attn" in parent or "attention" in parent for parent in parents)
            (inside if attention else outside).add(leaf)
    if getattr(config, "vision_config", None) is not None or not inside - outside:
        raise TrainerError(
            "invalid_input",
            f"The base model's architecture, {config.model_type}, is not supported.",
            f"Use a text model of one of {', '.join(sorted(FAMILIES))}.",
        )
    return Family(attention=tuple(sorted(inside - outside)))


def linear_modules(net: torch.nn.Module, targets: Targets) -> Iterator[tuple[str, torch.nn.Linear]]:
    """The trained Linear modules, with their paths."""
    for path, module in net.named_modules():
        if isinstance(module, torch.nn.Linear) and targets.includes(path):
            yield path, module


def fused_experts(net: torch.nn.Module) -> Iterator[tuple[str, torch.Size]]:
    """The paths of the routed experts' parameters, with their shapes [experts, out, in], without dequantizing them."""
    for path, module in net.named_modules():
        if not path.endswith(".experts"):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 3:
                yield f"{path}.{name}", parameter.shape
        for name, parametrised in getattr(module, "parametrizations", {}).items():
            yield f"{path}.{name}", parametrised[0].quant_state.shape


def expert_rank(rank: int) -> int:
    return min(rank, EXPERT_RANK)


def expected_parameters(net: torch.nn.Module, targets: Targets, rank: int) -> int:
    """How many parameters LoRA of `rank` must have: rank × (in + out) per matrix. Asserted after PEFT has run."""
    count = sum(rank * (module.in_features + module.out_features) for _, module in linear_modules(net, targets))
    if targets.experts:
        count += sum(n * expert_rank(rank) * (rows + columns) for _, (n, rows, columns) in fused_experts(net))
    return count
