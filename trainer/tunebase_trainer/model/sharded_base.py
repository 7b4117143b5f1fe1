"""A base model in NF4 sharded across GPUs: each rank holds a shard of every layer, and one complete layer at a time.

The base is frozen, so only its bytes are sharded: there are no gradients and no optimizer state. (torch's FSDP shards
parameters that it can flatten or convert to DTensors, which is not possible for packed experts under bitsandbytes'
parametrization. fsdp_base.py uses it for an unquantized base.)
The packed weights of a layer are views of one buffer. Before the layer runs, in the forward pass and when checkpointing
recomputes it, the ranks gather the buffer and release that of the previous layer, whose backward pass is complete by
then. Everything else (embeddings, norms, scales, the adapter) is replicated on every rank.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from . import distributed

ALIGNED = 512
"""Each weight starts at a multiple of this many bytes, as with torch's allocator, because kernels use vector loads."""


class ShardedLayer:
    """The packed weights of one layer, of which this rank holds a shard on `device`."""

    def __init__(self, layer: torch.nn.Module, device: torch.device) -> None:
        weights = [weight for weight in layer.parameters() if weight.dtype == torch.uint8]
        starts, size = list[int](), 0
        for weight in weights:
            starts.append(size)
            size += -(-weight.numel() // ALIGNED) * ALIGNED
        part = -(-size // (distributed.world_size() * ALIGNED)) * ALIGNED
        self.bytes = part * distributed.world_size()
        whole = torch.zeros(self.bytes, dtype=torch.uint8)
        for start, weight in zip(starts, weights, strict=True):
            whole[start : start + weight.numel()] = weight.data.view(-1)
        self.own = whole[part * distributed.rank() :][:part].to(device, copy=True)
        self.whole = torch.empty(self.bytes, dtype=torch.uint8, device=device)
        for start, weight in zip(starts, weights, strict=True):
            weight.data = self.whole[start : start + weight.numel()].view(weight.shape)
        self.release()

    def gather(self) -> None:
        """Collective: every rank must call it."""
        self.whole.untyped_storage().resize_(self.bytes)
        torch.distributed.all_gather_into_tensor(self.whole, self.own)

    def release(self) -> None:
        """Frees the buffer. Tensors that autograd saved are views of it, which become valid again after the next
        `gather`."""
        self.whole.untyped_storage().resize_(0)

    @property
    def is_whole(self) -> bool:
        return self.whole.untyped_storage().nbytes() > 0


def shard(net: PreTrainedModel, device: torch.device) -> list[ShardedLayer]:
    """Moves this rank's shard of a model on the CPU, and everything that is not sharded, to `device`.

    The model must train with checkpointing, and every rank must run the same number of forward passes.
    """
    layers = [ShardedLayer(module, device) for module in net.get_decoder().layers]

    def gather_only(layer: ShardedLayer, *_: Any) -> None:
        if not layer.is_whole:
            for other in layers:
                if other.is_whole:
                    other.release()
            layer.gather()

    for module, layer in zip(net.get_decoder().layers, layers, strict=True):
        # On the children, because a layer's own hooks are not called when checkpointing recomputes it.
        for part in module.children():
            part.register_forward_pre_hook(partial(gather_only, layer))
    torch.nn.Module.to(net, device)
    for module in net.modules():
        if (state := getattr(module, "quant_state", None)) is not None:
            state.to(device)
    net.hf_device_map = {"": device}  # accelerate rejects a quantized model that seems to be on another device
    return layers
