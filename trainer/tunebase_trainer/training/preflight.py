"""Checks before the model is loaded: bf16, the number of GPUs, GPU memory, disk space, and whether exports are
possible."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..contract import MICRO_BATCH_TOKENS, PLAIN_BYTES
from ..disk_space import check_disk_space
from ..errors import TrainerError
from ..export import merged
from ..model import distributed, targets
from ..model.lora_variants import adapter_rank
from ..model.quantization import KEPT_IN_BF16
from .gpu_memory import (
    FORMAT_NAMES,
    GIB,
    MemoryEstimate,
    ParameterCounts,
    Quantization,
    automatic_quantization,
    estimate_memory,
    fitting_micro_batch,
    is_sharded,
)

# The adapter, plus two checkpoints with the adapter and its optimizer state.
DISK_BYTES_PER_TRAINABLE = 28
# A shorter max_length is not worth suggesting.
MIN_USEFUL_TOKENS = 64


@dataclass(frozen=True)
class Placement:
    """How the base model is loaded."""

    quantization: Quantization
    sharded: bool
    """Whether the base is sharded across all GPUs, because it does not fit on one."""
    micro_batch_tokens: int | None = None
    """The maximum padded tokens per micro-batch that fit on every GPU; None on a CPU."""


def run_preflight(
    model: Path,
    hyper: dict[str, Any],
    max_sequence_length: int,
    output: Path,
    num_gpus: int,
    sequences_per_example: int = 1,
) -> Placement:
    """Runs every check for this process's GPU; on a CPU, only those of `export`.

    `max_sequence_length`: tokens of the longest sequence. `sequences_per_example`: the minimum that run at once, two
    for a preference pair.

    Resolves `quantization` = auto (NF4 on a CPU), and decides whether to shard the base and how many tokens a
    micro-batch has. `TUNEBASE_SHARD_BASE_MODEL=1` always shards it, which makes room for longer rows but takes time to
    gather the layers.

    Raises TrainerError `unsupported_gpu`, `out_of_memory`, `disk_full` or `invalid_input`.
    """
    exports = hyper.get("export", [])
    if "gguf" in exports:
        from ..export import gguf_export

        gguf_export.check(model)
    asked = hyper.get("quantization", "auto")
    if asked != "nf4" and is_stored_quantized(model):
        if asked == "none":
            raise TrainerError(
                "invalid_input",
                "quantization = none: the base model itself is stored in quantized form.",
                "Use quantization = auto, or the base model's unquantized repository.",
            )
        asked = "nf4"
    requested = num_gpus > 1 and os.environ.get("TUNEBASE_SHARD_BASE_MODEL") == "1"
    if not torch.cuda.is_available():
        return Placement("none" if asked == "none" else "nf4", requested)
    from transformers import AutoConfig

    lora_targets = hyper.get("lora_targets", "all-linear")
    config = AutoConfig.from_pretrained(model)
    vocabulary = config.get_text_config().vocab_size
    variant = hyper.get("lora_variant", "lora")
    can_shard = variant == "lora"  # the others need the whole base on each GPU
    rank = adapter_rank(variant, hyper["lora_rank"])
    counts = count_parameters(config, rank, lora_targets)
    device = torch.cuda.current_device()
    available = torch.cuda.mem_get_info(device)[0]
    longest = max_sequence_length * sequences_per_example
    if asked == "auto":
        tokens = max(longest, min(hyper["batch_size"] // num_gpus * longest, MICRO_BATCH_TOKENS))
        chosen = automatic_quantization(counts, tokens, vocabulary, available, num_gpus if can_shard else 1)
        asked = "nf4" if distributed.any_rank(chosen == "nf4") else "none"
    quantization: Quantization = asked
    memory, in_nf4 = estimate_memory(counts, quantization), estimate_memory(counts, "nf4")
    divided = can_shard and is_sharded(memory, longest, vocabulary, available, num_gpus)
    sharded = distributed.any_rank(requested or divided)
    if sharded:
        memory, in_nf4 = memory.sharded(num_gpus), in_nf4.sharded(num_gpus)
    gpu = torch.cuda.get_device_name(device)
    check_memory(
        memory, max_sequence_length, hyper, available, gpu, sequences_per_example,
        in_nf4=in_nf4 if quantization == "none" else None,
    )  # fmt: skip
    needed = DISK_BYTES_PER_TRAINABLE * counts.trainable + merged.bytes_needed(
        PLAIN_BYTES * (counts.quantizable + counts.plain), exports
    )
    what = "The adapter with its checkpoints" + "".join(f" and export = {export}" for export in exports)
    check_disk_space(output, needed, what)
    fitting = distributed.min_over_ranks(fitting_micro_batch(memory, longest, available))
    return Placement(quantization, sharded, fitting)


def is_stored_quantized(model: Path) -> bool:
    """Whether the model's files have quantized weights."""
    config = model / "config.json"
    return config.is_file() and "quantization_config" in json.loads(config.read_text())


def check_gpu(num_gpus: int, required: bool) -> None:
    """Checks that this process can train on its GPU. Runs before it joins other ranks and before any download.

    Raises TrainerError `gpu_unavailable` if a GPU is `required` and there is none, and `unsupported_gpu` if there are
    fewer than `num_gpus` GPUs, or for a GPU without bf16.
    """
    if not torch.cuda.is_available():
        if required:
            raise TrainerError(
                "gpu_unavailable",
                "This worker has lost its GPU: torch cannot use CUDA.",
                "The job will be retried on another worker.",
            )
        return  # a CPU supports bf16 and any number of processes
    if (found := torch.cuda.device_count()) < num_gpus:
        raise TrainerError(
            "unsupported_gpu",
            f"num_gpus = {num_gpus}: the worker has {found}.",
            f"Use num_gpus = {found}, or ask the operator to give the endpoint {num_gpus} GPUs per worker.",
        )
    device = distributed.local_rank()
    name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    # By default, torch counts emulation as support: a T4 would compute in bf16, but very slowly.
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise TrainerError(
            "unsupported_gpu",
            f"The GPU, {name}, has compute capability {major}.{minor} and no bf16; fp16 overflows in newer models.",
            "The operator must choose a GPU of compute capability 8.0 or above (Ampere or newer: A100, A40, L4, H100).",
        )


def count_parameters(config: Any, rank: int, lora_targets: str) -> ParameterCounts:
    """Counts the parameters of a model without loading weights. A lower bound: a run that exceeds it cannot fit.

    Raises TrainerError `invalid_input` if `lora_targets` does not suit the architecture.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    chosen = targets.resolve(net, lora_targets)
    head = net.get_output_embeddings()
    packed = sum(
        module.weight.numel()
        for path, module in net.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and not path.endswith(KEPT_IN_BF16)
    )
    experts = sum(shape.numel() for _, shape in targets.fused_experts(net))
    plain = sum(parameter.numel() for parameter in net.parameters()) - packed - experts
    text = config.get_text_config()
    layers = text.num_hidden_layers
    return ParameterCounts(
        quantizable=packed + experts,
        plain=plain,
        layers=layers,
        hidden=text.hidden_size,
        trainable=targets.expected_parameters(net, chosen, rank),
        dequantized=experts / layers,
        reads=sum(module.in_features for _, module in targets.linear_modules(net, chosen)) / layers,
    )


def check_memory(
    memory: MemoryEstimate,
    tokens: int,
    hyper: dict[str, Any],
    available: float,
    gpu: str,
    sequences_per_example: int = 1,
    in_nf4: MemoryEstimate | None = None,
) -> None:
    """Raises TrainerError `out_of_memory` when an example with sequences of `tokens` cannot fit in `available` bytes.

    `in_nf4`: for an unquantized base, the estimate in NF4, which is suggested if it fits.

    Ignores memory that it cannot predict (fragmentation, logits, kernel workspaces), so that a run that may fit is
    tried.
    """
    required = memory.required(tokens * sequences_per_example)
    if required <= available:
        return
    rank = hyper["lora_rank"]
    alternatives = [f"a GPU with {math.ceil(required / GIB)} GiB"]
    if in_nf4 is not None and (smaller := in_nf4.required(tokens * sequences_per_example)) <= available:
        alternatives.insert(0, f"quantization = nf4, which needs about {smaller / GIB:.1f} GiB")
    needs = f"about {required / GIB:.1f} GiB of the GPU ({gpu}), but {available / GIB:.1f} GiB are free"
    if (fits := memory.max_row_tokens(available) // sequences_per_example) >= MIN_USEFUL_TOKENS:
        each = " in each of its two answers" if sequences_per_example > 1 else ""
        raise TrainerError(
            "out_of_memory",
            f"max_length = {hyper['max_length']}: the longest row, with {tokens} tokens{each}, needs {needs}.",
            f"Use {_any_of(f'max_length = {fits // 64 * 64} or less', *alternatives)}.",
        )
    smaller_rank_fits = (
        memory.max_row_tokens(available + memory.adapter / 2) // sequences_per_example >= MIN_USEFUL_TOKENS
    )
    alternatives.append("a smaller base model")
    if smaller_rank_fits:
        alternatives.append(f"lora_rank = {rank // 2} or less")
    base_format = FORMAT_NAMES["nf4" if in_nf4 is None else "none"]
    raise TrainerError(
        "out_of_memory",
        f"The base model needs {needs}: {memory.base / GIB:.1f} GiB in {base_format}, and "
        f"{memory.adapter / GIB:.1f} GiB for the adapter (lora_rank = {rank}).",
        f"Use {_any_of(*alternatives)}.",
    )


def _any_of(*alternatives: str) -> str:
    return f"{', '.join(alternatives[:-1])}, or {alternatives[-1]}"
