"""The whole model with the adapter in its weights, for programs that load no adapters; where it is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

# The server reads each file back within the 2 s of CPU time that a function has.
SHARD = "500MB"
# A manifest names at most 100 files, and some lie beside these.
MOST_SHARDS = 85


def write(output: Path, base: Path, adapter: Path, tokenizer: Any) -> str | None:
    """Merges on the CPU in bf16 into `output`, as transformers loads it. Never raises: returns why there is none.

    Not into the NF4 base that was trained on: merging into quantised weights rounds the adapter away.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    needed = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    if needed > MOST_SHARDS * 500e6:
        return _none(f"the model has {needed / 1e9:.0f} GB, and at most {MOST_SHARDS * 0.5:.0f} GB are kept")
    free = shutil.disk_usage(adapter).free
    if free < 1.1 * needed:
        return _none(f"it needs {needed / 1e9:.1f} GB on the worker's disk, where {free / 1e9:.1f} GB are free")
    try:
        net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        PeftModel.from_pretrained(net, str(adapter)).merge_and_unload().save_pretrained(output, max_shard_size=SHARD)
        tokenizer.save_pretrained(str(output))
    except Exception as error:  # the adapter is there, and worth more than this
        shutil.rmtree(output, ignore_errors=True)
        return _none(type(error).__name__)
    return None


def _none(why: str) -> str:
    return f"There are no merged weights: {why}. Merge the adapter yourself: PeftModel.merge_and_unload()."
