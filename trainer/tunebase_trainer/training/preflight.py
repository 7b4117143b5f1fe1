"""What can be known to fail before the model is loaded: no bf16, too few GPUs, no room on the GPU."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch

from ..disk_space import check_disk_space
from ..errors import TrainerError
from ..export import merged
from ..model import distributed, targets
from .gpu_memory import GIB, MemoryEstimate, ParameterCounts, estimate_memory


def run_preflight(model: Path, hyper: dict[str, Any], longest: int, output: Path, gpus: int, together: int = 1) -> bool:
    """All of them, for a run on this process's GPU; on a CPU only what `export` cannot make. `longest`: the longest
    sequence's tokens; `together`: how many go through the model at the least, two for a pair of answers.

    Returns whether the GPUs must share the base: one has no room for it. `TUNEBASE_SHARD_BASE_MODEL=1` has them
    share it anyway, which leaves room for longer rows and costs the time in which it is put together.

    Raises TrainerError `unsupported_gpu`, `out_of_memory`, `disk_full` or `invalid_input`.
    """
    exports = hyper.get("export", [])
    if "gguf" in exports:
        from ..export import gguf_export

        gguf_export.check(model)
    check_gpu(gpus)
    wanted = gpus > 1 and os.environ.get("TUNEBASE_SHARD_BASE_MODEL") == "1"
    if not torch.cuda.is_available():
        return wanted
    from transformers import AutoConfig

    counts = count(AutoConfig.from_pretrained(model), hyper["lora_rank"], hyper.get("lora_targets", "all-linear"))
    memory = estimate_memory(counts)
    device = torch.cuda.current_device()
    name = torch.cuda.get_device_name(device)
    available = torch.cuda.mem_get_info(device)[0]
    shared = distributed.any_rank(wanted or (gpus > 1 and memory.needed(longest * together) > available))
    if shared:
        memory = memory.shared(gpus)
    check_memory(memory, longest, hyper, available, name, together)
    # The adapter, and two checkpoints with it and its optimizer's state.
    needed = 28 * counts.trainable + merged.bytes_needed(model, exports)
    check_disk_space(
        output, needed, "The adapter with its checkpoints" + "".join(f" and export = {it}" for it in exports)
    )
    return shared


def check_gpu(gpus_wanted: int) -> None:
    """Raises TrainerError `unsupported_gpu` for a GPU without bf16, or for fewer GPUs than are wanted."""
    if not torch.cuda.is_available():
        return  # a CPU has bf16, and as many processes as are wanted
    name, (major, minor) = torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
    # By default torch counts emulation as support: a T4 would compute in bf16, at a crawl.
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise TrainerError(
            "unsupported_gpu",
            f"The GPU, {name}, has compute capability {major}.{minor} and so no bf16; fp16 overflows in newer models.",
            "The operator must choose a GPU of compute capability 8.0 or above (Ampere or newer: A100, A40, L4, H100).",
        )
    if (there := torch.cuda.device_count()) < gpus_wanted:
        raise TrainerError(
            "unsupported_gpu",
            f"num_gpus = {gpus_wanted}: the worker has {there}.",
            f"Use num_gpus = {there}, or the operator must give the endpoint {gpus_wanted} GPUs a worker.",
        )


def count(config: Any, rank: int, lora_targets: str) -> ParameterCounts:
    """Counted on a model without values, and only what cannot be avoided: what does not fit by it, does not fit.

    Raises TrainerError `invalid_input` where `lora_targets` does not fit the architecture.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    chosen = targets.resolve(net, lora_targets)
    head = net.get_output_embeddings()
    packed = sum(
        module.weight.numel() for module in net.modules() if isinstance(module, torch.nn.Linear) and module is not head
    )
    shapes = [shape for _, shape in targets.fused_experts(net)]
    experts = sum(shape.numel() for shape in shapes)
    rest = sum(parameter.numel() for parameter in net.parameters()) - packed - experts
    trainable = targets.expected_parameters(net, chosen, rank)
    text = config.get_text_config()
    layers = text.num_hidden_layers
    reads = sum(module.in_features for _, module in targets.linear_modules(net, chosen)) / layers
    return ParameterCounts(
        quantized=packed + experts,
        plain=rest,
        layers=layers,
        hidden=text.hidden_size,
        trainable=trainable,
        dequantized=experts / layers,
        reads=reads,
    )


def check_memory(
    memory: MemoryEstimate, tokens: int, hyper: dict[str, Any], available: float, gpu: str, together: int = 1
) -> None:
    """Raises TrainerError `out_of_memory` when one row of `tokens` (or two `together`) cannot fit in the `available`
    bytes of `gpu`.

    What it cannot know (fragments, logits, kernels' workspaces) it leaves out: a run that may fit is tried.
    """
    needed = memory.needed(tokens * together)
    if needed <= available:
        return
    said = f"about {needed / GIB:.1f} GiB of the GPU ({gpu}), and {available / GIB:.1f} GiB are free"
    if (longest := memory.longest(available) // together) >= 64:
        each = " with each of its two answers" if together > 1 else ""
        raise TrainerError(
            "out_of_memory",
            f"max_length = {hyper['max_length']}: the longest row, of {tokens} tokens{each}, needs {said}.",
            f"Use max_length = {longest // 64 * 64} or less, or a GPU with {math.ceil(needed / GIB)} GiB.",
        )
    raise TrainerError(
        "out_of_memory",
        f"The base model needs {said}: {memory.base / GIB:.1f} in NF4, {memory.adapter / GIB:.1f} for the "
        f"adapter (lora_rank = {hyper['lora_rank']}).",
        f"Use a GPU with {math.ceil(needed / GIB)} GiB, a smaller base model"
        + (
            f", or lora_rank = {hyper['lora_rank'] // 2} or less."
            if memory.longest(available + memory.adapter / 2) // together >= 64
            else "."
        ),
    )
