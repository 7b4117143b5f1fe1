"""The network: quantised base, LoRA on it, and what is saved of it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import transformers_weight_conversion as conversion
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from . import cpu_attention, lora, packed_experts, precision, quantised_cache, ranks, shared_base, targets
from .errors import TrainerError
from .nf4 import FUSED, Nf4Config


def load_quantised(path: Path, revision: str | None = None) -> tuple[PreTrainedModel, bool]:
    """The base in NF4 with double quantisation, routed experts too, computing in bf16, on this process's device.

    One with a revision is kept quantised for the next start; returns whether it was.
    """
    load = partial(_load, device=torch.cuda.current_device() if torch.cuda.is_available() else "cpu")
    net, cached = quantised_cache.load(path, revision, quantise=load, read=load)
    return ready(net), cached


def load_shared(path: Path, revision: str | None = None) -> tuple[PreTrainedModel, bool]:
    """The same, of which each rank keeps a part (shared_base.py). They load it one after the other: main memory has to
    hold it once."""
    load = partial(_load, device="cpu")
    for turn in range(ranks.count()):
        if turn == ranks.rank():
            net, cached = quantised_cache.load(path, revision, quantise=load, read=load)
            on_gpu = torch.cuda.is_available()
            shared_base.share(net, torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu"))
        ranks.total(0)
    return ready(net), cached


def ready(net: PreTrainedModel) -> PreTrainedModel:
    """A quantised model made ready to be trained on."""
    net.config.use_cache = False
    if hasattr(net.config, "router_aux_loss_coef"):
        # The router is frozen: its loss has nothing to teach, and would keep every layer's router logits.
        net.config.output_router_logits = False
        net.config.router_aux_loss_coef = net.router_aux_loss_coef = 0.0
    for module in net.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX512-BF16 bitsandbytes packs the weights anew at the first validation, for a kernel that
            # has no gradient, and never back: measured, the gradient norms of all later steps were half of the true.
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype = precision.compute_dtype()
    if precision.compute_dtype() == torch.float32:
        # What is not quantised: the quantiser keeps it in bf16, whatever dtype was asked for.
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.dtype == torch.bfloat16:
                tensor.data = tensor.data.float()
    return net


def _load(path: Path, device: int | str) -> PreTrainedModel:
    config = json.loads((path / "config.json").read_text())
    quantisation = {} if "quantization_config" in config else {"quantization_config": Nf4Config()}
    net, found = AutoModelForCausalLM.from_pretrained(
        path,
        **quantisation,
        dtype=precision.compute_dtype(),
        device_map={"": device},
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):
        # transformers would fill them with random numbers, with a warning that nobody reads.
        raise RuntimeError(f"{len(missing)} weights are not in {path}: {', '.join(missing[:5])}")
    return net


def add_lora(
    net: PreTrainedModel,
    rank: int,
    alpha: int,
    dropout: float,
    lora_targets: str = "all-linear",
    rslora: bool = False,
    checkpointing: bool = False,
) -> tuple[PeftModel, int]:
    """Adds LoRA to what the table in targets.py says; returns the model and the number of trainable parameters.

    Not `prepare_model_for_kbit_training`: it casts every unquantised tensor to fp32.
    Raises TrainerError `invalid_input` where `lora_targets` does not fit the model or the dropout.
    """
    chosen = targets.resolve(net, lora_targets)
    if chosen.experts and dropout > 0:
        raise TrainerError(
            "invalid_input",
            f"lora_dropout = {dropout:g}: routed experts are trained without.",
            "Use lora_dropout = 0, or lora_targets = all-linear.",
        )
    if chosen.experts and rslora:
        raise TrainerError(
            "invalid_input",
            "use_rslora = true: routed experts have a rank and a scale of their own.",
            "Use use_rslora = false, or lora_targets = all-linear.",
        )
    if checkpointing or torch.cuda.is_available() or any(True for _ in targets.fused(net)):
        # Trades a third more time for memory. On a CPU memory is not what is short, but NF4 experts would be kept
        # dequantised, all of them, for the backward pass.
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        net.enable_input_require_grads()
    expected = targets.expected(net, chosen, rank)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
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
    with packed_experts.looking_plain(net), nullcontext() if chosen.stock else names_as_they_are():
        adapted = get_peft_model(net, config)
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if trainable != expected or trainable == 0:
        raise RuntimeError(f"{trainable} trainable parameters, expected {expected}")
    lora.fuse(adapted)
    if not torch.cuda.is_available():
        cpu_attention.use()
    return adapted, trainable


@contextmanager
def names_as_they_are() -> Iterator[None]:
    """PEFT without its conversion of MoE configs, which makes routed experts of a shared expert's names."""
    kept = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *_, **__: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = kept


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
