"""The network: quantised base, LoRA on it, and what is saved of it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from .errors import TrainerError

# Every projection of a dense decoder (Llama, Qwen, Mistral, SmolLM).
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def load_quantised(path: Path) -> PreTrainedModel:
    """The base in NF4 with double quantisation, computing in bf16: fp16 overflows in newer models' gates."""
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    net: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path,
        quantization_config=quantisation,
        dtype=torch.bfloat16,
        device_map={"": 0 if torch.cuda.is_available() else "cpu"},
    )
    net.config.use_cache = False
    for module in net.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX512-BF16 bitsandbytes packs the weights anew at the first validation, for a kernel that
            # has no gradient, and never back: measured, the gradient norms of all later steps were half of the true.
            module.support_avx512bf16_for_cpu = False
    return net


def add_lora(
    net: PreTrainedModel, rank: int, alpha: int, dropout: float, rslora: bool = False
) -> tuple[PeftModel, int]:
    """Adds LoRA to every projection; returns the model and the number of trainable parameters.

    Not `prepare_model_for_kbit_training`: it casts every unquantised tensor to fp32.
    """
    if torch.cuda.is_available():
        # Trades a third more time for memory; on a CPU memory is not what is short.
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        net.enable_input_require_grads()
    adapted = get_peft_model(
        net,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            use_rslora=rslora,
            target_modules=list(TARGETS),
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )
    expected = sum(
        rank * (module.in_features + module.out_features)
        for name, module in net.named_modules()
        if name.endswith(tuple(f"{target}.base_layer" for target in TARGETS)) and isinstance(module, torch.nn.Linear)
    )
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if trainable != expected or trainable == 0:
        raise RuntimeError(f"{trainable} trainable parameters, expected {expected}")
    return adapted, trainable


def start_from(net: PeftModel, directory: Path) -> None:
    """Puts an earlier adapter's weights in the place of the fresh ones.

    Raises TrainerError `invalid_input` when it is an adapter of another shape: PEFT would take what fits, silently.
    """
    weights = load_file(directory / "adapter_model.safetensors")
    own = get_peft_model_state_dict(net, save_embedding_layers=False)
    if {name: tensor.shape for name, tensor in weights.items()} != {name: own[name].shape for name in own}:
        raise TrainerError(
            "invalid_input",
            "The earlier fine-tune's adapter has another shape: another base model, or another lora_rank.",
            "Train on from a fine-tune of the same base model, with its lora_rank and lora_alpha.",
        )
    set_peft_model_state_dict(net, weights)


def save(net: PeftModel, output: Path, source: str, revision: str | None) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, naming the base by its public name."""
    net.save_pretrained(str(output), save_embedding_layers=False)
    name_base(output, source, revision)
    (output / "README.md").unlink(missing_ok=True)


def name_base(directory: Path, source: str, revision: str | None) -> None:
    """Names the base of a saved adapter by its public name; what was saved names a directory of this worker."""
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": source, "revision": revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def versions() -> dict[str, str]:
    """What the adapter was made with, for its manifest."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "runpod")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "gpu": gpu} | {
        name: importlib.metadata.version(name) for name in names
    }
