"""Exports the model with the adapter merged into its weights, for programs that cannot load adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import TrainerError

# The server verifies each file within an edge function's 2 s of CPU time.
SHARD = 500_000_000
# A manifest has at most 100 files, including the adapter's.
MAX_SHARDS = 85


def bytes_needed(size: float, exports: list[str]) -> float:
    """Disk space for exports of a base model of `size` bytes. GGUF Q8_0 stores 32 weights in 34 bytes, bf16 in 64."""
    return size * (("merged" in exports) + 34 / 64 * ("gguf" in exports))


def write(
    output: Path, fetch_base: Callable[[], Path], adapter: Path, tokenizer: Any, exports: list[str]
) -> str | None:
    """Merges on the CPU in bf16, and writes `output`/merged for transformers and `output`/gguf for llama.cpp.

    Never raises: returns why there is no export. Does not merge into the NF4 base, because rounding to quantized
    weights would lose the adapter. `fetch_base` downloads weights that training did not need, and returns the base
    model's directory.
    """
    try:
        base = fetch_base()
    except TrainerError as error:
        return _none(error.message.removesuffix("."))
    needed = bytes_needed(sum(file.stat().st_size for file in base.glob("*.safetensors")), exports)
    if needed > MAX_SHARDS * SHARD:
        return _none(f"they would take {needed / 1e9:.0f} GB; the limit is {MAX_SHARDS * SHARD / 1e9:.0f} GB")
    free = shutil.disk_usage(adapter).free
    if free < 1.1 * needed:
        return _none(f"they need {needed / 1e9:.1f} GB of the worker's disk, but {free / 1e9:.1f} GB are free")
    try:
        net = _merge(base, adapter)
        if "merged" in exports:
            net.save_pretrained(output / "merged", max_shard_size=SHARD)
            tokenizer.save_pretrained(str(output / "merged"))
        if "gguf" in exports:
            from . import gguf_export

            gguf_export.write(output / "gguf", net, tokenizer, SHARD)
    except Exception as error:  # the adapter is already saved, and more important
        for made in exports:
            shutil.rmtree(output / made, ignore_errors=True)
        return _none(type(error).__name__)
    return None


def _merge(base: Path, adapter: Path) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from ..model.lora import peft_without_moe_renaming

    # Not with stock PEFT: see targets.Targets.loads_in_stock_peft.
    trained = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    shared = any(name.startswith("shared_expert.") for name in trained)
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    with peft_without_moe_renaming() if shared else nullcontext():
        return PeftModel.from_pretrained(net, str(adapter)).merge_and_unload()


def _none(why: str) -> str:
    return f"Skipped the merged weights: {why}. You can merge the adapter with PeftModel.merge_and_unload()."
