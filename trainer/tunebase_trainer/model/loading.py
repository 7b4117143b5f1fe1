"""The quantized base, ready to be trained on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, PreTrainedModel

from . import distributed, precision, quantized_cache, sharded_base
from .quantization import Nf4Config


def load_quantized(path: Path, revision: str | None = None) -> tuple[PreTrainedModel, bool]:
    """The base in NF4 with double quantization, routed experts too, computing in bf16, on this process's device.

    One with a revision is kept quantized for the next start; returns whether it was.
    """
    load = partial(_load, device=torch.cuda.current_device() if torch.cuda.is_available() else "cpu")
    net, cached = quantized_cache.load(path, revision, quantize=load, read=load)
    return prepare_for_training(net), cached


def load_sharded(path: Path, revision: str | None = None) -> tuple[PreTrainedModel, bool]:
    """The same, of which each rank keeps a part (shared_base.py). They load it one after the other: main memory has to
    hold it once."""
    load = partial(_load, device="cpu")
    for turn in range(distributed.world_size()):
        if turn == distributed.rank():
            net, cached = quantized_cache.load(path, revision, quantize=load, read=load)
            on_gpu = torch.cuda.is_available()
            sharded_base.shard(
                net, torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
            )
        distributed.sum_over_ranks(0)
    return prepare_for_training(net), cached


def prepare_for_training(net: PreTrainedModel) -> PreTrainedModel:
    """A quantized model made ready to be trained on."""
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
        # What is not quantized: the quantizer keeps it in bf16, whatever dtype was asked for.
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.dtype == torch.bfloat16:
                tensor.data = tensor.data.float()
    return net


def _load(path: Path, device: int | str) -> PreTrainedModel:
    config = json.loads((path / "config.json").read_text())
    quantization = {} if "quantization_config" in config else {"quantization_config": Nf4Config()}
    net, found = AutoModelForCausalLM.from_pretrained(
        path,
        **quantization,
        dtype=precision.compute_dtype(),
        device_map={"": device},
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):
        # transformers would fill them with random numbers, with a warning that nobody reads.
        raise RuntimeError(f"{len(missing)} weights are not in {path}: {', '.join(missing[:5])}")
    return net
