"""Loads the base model, in NF4 or unquantized, and prepares it for training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, PreTrainedModel

from . import distributed, precision, quantized_cache, sharded_base
from .quantization import Nf4Config


def load_quantized(
    path: Path, revision: str | None = None, fetch_weights: Callable[[], object] = lambda: None
) -> tuple[PreTrainedModel, bool]:
    """Loads the base in NF4 with double quantization, including routed experts, computing in bf16, on this process's
    device.

    A model with a revision is cached in quantized form. Also returns whether it came from the cache. `fetch_weights` is
    called before the weights are read from `path`, but not if the model is cached.
    """
    load = partial(_load, device=_own_device())
    net, cached = quantized_cache.load(path, revision, partial(_fetch_and_load, fetch_weights, load), read=load)
    return prepare_for_training(net), cached


def load_unquantized(path: Path, fetch_weights: Callable[[], object] = lambda: None) -> PreTrainedModel:
    """Loads the base unquantized, in the compute dtype, on this process's device."""
    fetch_weights()
    return prepare_for_training(_load(path, _own_device(), nf4=False))


def load_unquantized_sharded(path: Path, fetch_weights: Callable[[], object] = lambda: None) -> PreTrainedModel:
    """The same, sharded across the ranks (fsdp_base.py). They load it in turn, so that main memory holds only one
    copy."""
    from . import fsdp_base

    mesh = fsdp_base.mesh_of_all_ranks()
    for turn in range(distributed.world_size()):
        if turn == distributed.rank():
            fetch_weights()
            net = _load(path, "cpu", nf4=False)
            fsdp_base.shard(net, mesh)
        distributed.sum_over_ranks(0)
    return prepare_for_training(net)


def load_quantized_sharded(
    path: Path, revision: str | None = None, fetch_weights: Callable[[], object] = lambda: None
) -> tuple[PreTrainedModel, bool]:
    """The base in NF4, sharded across the ranks (sharded_base.py), which load it in turn."""
    load = partial(_load, device="cpu")
    for turn in range(distributed.world_size()):
        if turn == distributed.rank():
            net, cached = quantized_cache.load(path, revision, partial(_fetch_and_load, fetch_weights, load), read=load)
            on_gpu = torch.cuda.is_available()
            sharded_base.shard(
                net, torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
            )
        distributed.sum_over_ranks(0)
    return prepare_for_training(net), cached


def _fetch_and_load(
    fetch_weights: Callable[[], object], load: Callable[[Path], PreTrainedModel], path: Path
) -> PreTrainedModel:
    fetch_weights()
    return load(path)


def prepare_for_training(net: PreTrainedModel) -> PreTrainedModel:
    """Prepares a loaded model for training."""
    net.config.use_cache = False
    if hasattr(net.config, "router_aux_loss_coef"):
        # The router is frozen, so its loss would train nothing but keep every layer's router logits in memory.
        net.config.output_router_logits = False
        net.config.router_aux_loss_coef = net.router_aux_loss_coef = 0.0
    for module in net.modules():
        if isinstance(module, Linear4bit):
            # On a CPU with AVX512-BF16, bitsandbytes repacks the weights at the first validation for a kernel without
            # gradients, and never restores them: the gradient norms of all later steps were half of the true ones
            # (measured).
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype = precision.compute_dtype()
    if precision.compute_dtype() == torch.float32:
        # The quantizer keeps unquantized tensors in bf16, whatever dtype was requested.
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.dtype == torch.bfloat16:
                tensor.data = tensor.data.float()
    return net


def _own_device() -> int | str:
    return torch.cuda.current_device() if torch.cuda.is_available() else "cpu"


def _load(path: Path, device: int | str, nf4: bool = True) -> PreTrainedModel:
    config = json.loads((path / "config.json").read_text())
    quantization = {"quantization_config": Nf4Config()} if nf4 and "quantization_config" not in config else {}
    net, info = AutoModelForCausalLM.from_pretrained(
        path,
        **quantization,
        dtype=precision.compute_dtype(),
        device_map={"": device},
        output_loading_info=True,
    )
    if missing := sorted(info["missing_keys"]):
        # transformers would only warn and initialize them randomly.
        raise RuntimeError(f"{len(missing)} weights are not in {path}: {', '.join(missing[:5])}")
    return net
