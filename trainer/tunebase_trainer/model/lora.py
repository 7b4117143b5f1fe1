"""LoRA on the base model: adding, loading and saving an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import transformers_weight_conversion as conversion
from safetensors.torch import load_file
from transformers import PreTrainedModel

from .. import kernels
from ..errors import TrainerError
from . import packed_experts, targets
from .lora_variants import adapter_rank, check_variant, initialize_pissa
from .quantization import FUSED


def add_lora(
    net: PreTrainedModel,
    rank: int,
    alpha: int,
    dropout: float,
    lora_targets: str = "all-linear",
    rslora: bool = False,
    checkpointing: bool = False,
    variant: str = "lora",
    weight_decay: float = 0.0,
) -> tuple[PeftModel, int]:
    """Adds LoRA to the modules that targets.py selects. Returns the model and the number of trainable parameters.

    `checkpointing`: the base is sharded, which needs activation checkpointing. `variant`: see `lora_variants.py`.

    Does not call `prepare_model_for_kbit_training`, which casts every unquantized tensor to fp32.
    Raises TrainerError `invalid_input` if `lora_targets` does not suit the model or the dropout.
    """
    chosen = targets.resolve(net, lora_targets)
    if chosen.experts and dropout > 0:
        raise TrainerError(
            "invalid_input",
            f"lora_dropout = {dropout:g}: routed experts do not support dropout.",
            "Use lora_dropout = 0, or lora_targets = all-linear.",
        )
    if chosen.experts and rslora:
        raise TrainerError(
            "invalid_input",
            "use_rslora = true: routed experts have their own rank and scale.",
            "Use use_rslora = false, or lora_targets = all-linear.",
        )
    check_variant(variant, chosen, rank=rank, rslora=rslora, weight_decay=weight_decay, sharded=checkpointing)
    if checkpointing or torch.cuda.is_available() or any(True for _ in targets.fused_experts(net)):
        # Saves memory for a third more time. A CPU has enough memory, but without checkpointing the dequantized weights
        # of all NF4 experts would be kept for the backward pass.
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        net.enable_input_require_grads()
    expected = targets.expected_parameters(net, chosen, adapter_rank(variant, rank))
    if variant == "dora":
        expected += sum(module.out_features for _, module in targets.linear_modules(net, chosen))  # the magnitudes
    config = _lora_config(chosen, rank, alpha, dropout, rslora, variant)
    with (
        packed_experts.unpacked_placeholders(net),
        nullcontext() if chosen.loads_in_stock_peft else peft_without_moe_renaming(),
    ):
        adapted = get_peft_model(net, config)
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if trainable != expected or trainable == 0:
        raise RuntimeError(f"{trainable} trainable parameters, expected {expected}")
    if variant == "pissa":
        initialize_pissa(adapted, rank)
        trainable //= 2  # the other half is frozen
    kernels.install(adapted)
    # The artifact has its own. PEFT would compile its card's template for each checkpoint, and write a file to delete.
    adapted.create_or_update_model_card = lambda output_dir: None
    return adapted, trainable


def _lora_config(
    chosen: targets.Targets, rank: int, alpha: int, dropout: float, rslora: bool, variant: str
) -> LoraConfig:
    adapter = adapter_rank(variant, rank)
    config = LoraConfig(
        r=adapter,
        lora_alpha=alpha * adapter // rank,
        use_dora=variant == "dora",
        lora_dropout=dropout,
        use_rslora=rslora,
        target_modules=[*chosen.modules, *(f"shared_expert.{leaf}" for leaf in targets.MLP if chosen.shared_expert)],
        bias="none",
        task_type="CAUSAL_LM",
    )
    if chosen.experts:
        config.target_parameters = [f"experts.{leaf}" for leaf in FUSED]
        own = targets.expert_rank(rank)
        config.rank_pattern = {f"experts.{leaf}": own for leaf in FUSED}
        config.alpha_pattern = {f"experts.{leaf}": alpha * own / rank for leaf in FUSED}
    return config


@contextmanager
def peft_without_moe_renaming() -> Iterator[None]:
    """Disables PEFT's conversion of MoE configs, which renames a shared expert's modules to routed experts."""
    kept = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *_, **__: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = kept


def load_earlier_adapter(net: PeftModel, directory: Path) -> None:
    """Loads an earlier adapter's weights into the new one.

    Raises TrainerError `invalid_input` for an adapter of another shape, of which PEFT would silently load only a part.
    """
    weights = load_file(directory / "adapter_model.safetensors")
    own = get_peft_model_state_dict(net, save_embedding_layers=False)
    if {name: tensor.shape for name, tensor in weights.items()} != {name: own[name].shape for name in own}:
        raise TrainerError(
            "invalid_input",
            "The earlier fine-tune's adapter has another shape: another base model, or another lora_rank.",
            "Continue from a fine-tune of the same base model, with the same lora_rank and lora_alpha.",
        )
    set_peft_model_state_dict(net, weights)


def save_adapter(net: PeftModel, output: Path, source: str, revision: str | None) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, with the base model's public name."""
    net.save_pretrained(str(output), save_embedding_layers=False)
    set_base_model_name(output, source, revision)


def set_base_model_name(directory: Path, source: str, revision: str | None) -> None:
    """Replaces the base model's name in a saved adapter, where PEFT writes a directory of this worker."""
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": source, "revision": revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
