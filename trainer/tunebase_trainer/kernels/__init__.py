"""Replacements for the computation of modules, and where they are used:

| replaces                             | with                          | where                                         |
| ------------------------------------ | ----------------------------- | --------------------------------------------- |
| PEFT's forward of a plain LoRA layer | `fused_lora`                  | everywhere, while autocast is on              |
| the mask of LoRA's dropout           | `cpu_dropout`                 | on a CPU, in `fused_lora`                     |
| the attention named `sdpa`           | `cpu_attention`               | on a CPU, in training, for rows up to 1,024   |
| logits and cross entropy             | `training/loss.py`            | everywhere                                    |
| a routed expert's weights            | `model/quantization.py` (NF4) | everywhere; dequantized when a layer reads it |
| RMSNorm, SwiGLU, rotary embedding    | `liger`                       | on a GPU, where they equal the model's own    |
| `sdpa`, for rows in one sequence     | `packed_attention`            | if TUNEBASE_PACKING=1, on a GPU               |
| AdamW's update, tensor by tensor     | torch's fused AdamW           | everywhere                                    |

`install` applies the rows of this folder to a model.
"""

from __future__ import annotations

import importlib.util

import torch


def install(net: torch.nn.Module) -> None:
    """Makes `net`, which has LoRA layers, compute with the kernels in the table."""
    from . import cpu_attention, fused_lora, liger

    fused_lora.fuse_lora_layers(net)
    if torch.cuda.is_available():
        global _liger
        _liger = liger.install(net, torch.device("cuda", torch.cuda.current_device())).describe()
    else:
        cpu_attention.register()


_liger = ""
"""Which of liger-kernel's kernels are in use. Set when a model is loaded."""


def describe() -> str:
    """The kernels of this process, for the job's log."""
    if not torch.cuda.is_available():
        return "fused LoRA, CPU attention for rows of up to 1,024 tokens"
    fla = "flash-linear-attention" if importlib.util.find_spec("fla") else "linear attention in plain torch"
    return ", ".join(filter(None, ["fused LoRA, torch's scaled dot product attention", fla, _liger]))
