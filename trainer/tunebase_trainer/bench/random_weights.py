"""A checkpoint of random weights that never exists as a whole: each tensor is created when the loader reads it.

So a model of a true shape is built by the very loader that a real one goes through, layer by layer, on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..model.loading import prepare_for_training
from ..model.targets import fused_experts


@dataclass(frozen=True)
class RandomTensor:
    """Acts as a tensor in a file; reading it draws normal numbers of the usual initial scale."""

    shape: tuple[int, ...]

    def __getitem__(self, _: Any) -> torch.Tensor:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.randn(self.shape, dtype=torch.bfloat16, device=device) * 0.02


def checkpoint(net: torch.nn.Module) -> dict[str, RandomTensor]:
    """All tensors of a checkpoint of this model; routed experts one by one, as in Qwen's files."""
    experts = {path for path, _ in fused_experts(net)}
    return dict(
        item
        for name, tensor in net.state_dict().items()
        for item in (_experts(name, tensor.shape) if name in experts else [(name, RandomTensor(tuple(tensor.shape)))])
    )


def _experts(path: str, shape: torch.Size) -> Iterator[tuple[str, RandomTensor]]:
    module, _, leaf = path.rpartition(".")
    count, rows, columns = shape
    parts = ("gate_proj", "up_proj") if leaf == "gate_up_proj" else (leaf,)
    for i in range(count):
        for part in parts:
            yield f"{module}.{i}.{part}.weight", RandomTensor((rows // len(parts), columns))


def load(config: Any, quantization: Any) -> Any:
    """The quantized model, through transformers' loader."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    net, found = type(empty).from_pretrained(
        None,
        config=config,
        state_dict=checkpoint(empty),
        quantization_config=quantization,
        dtype=torch.bfloat16,
        device_map={"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"},
        output_loading_info=True,
    )
    if found["missing_keys"] or found["unexpected_keys"]:
        raise RuntimeError(f"the checkpoint does not fit: {found}")
    return prepare_for_training(net)
