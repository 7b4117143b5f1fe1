"""A base that no GPU holds alone, shared by several: a rank keeps a part of each layer, and one layer whole at a time.

The base is frozen, so only bytes are shared: there are no gradients and no optimizer's state to keep together. (torch's
FSDP shards parameters that it may flatten or make DTensors of. Packed experts under bitsandbytes' parametrization are
neither.) The packed weights of a layer are views of one buffer. Before the layer computes, in the forward pass and when
checkpointing computes it again, the ranks put the buffer together, and let go of the layer's before: its backward pass
is over by then. All else (embeddings, norms, scales, the adapter) is whole in every rank.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from . import distributed

ALIGNED = 512
"""Each weight begins at a multiple of so many bytes, as torch's allocator has it; kernels read many at once."""


class ShardedLayer:
    """The packed weights of one layer, of which this rank has a part, on `device`."""

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
        """Waits for all ranks."""
        self.whole.untyped_storage().resize_(self.bytes)
        torch.distributed.all_gather_into_tensor(self.whole, self.own)

    def release(self) -> None:
        """Frees the buffer. What autograd kept of the weights is a view of it, and right when it is there again."""
        self.whole.untyped_storage().resize_(0)

    @property
    def is_whole(self) -> bool:
        return self.whole.untyped_storage().nbytes() > 0


def shard(net: PreTrainedModel, device: torch.device) -> list[ShardedLayer]:
    """Has each rank keep its part of a model that lies on the CPU, on `device`, with everything that is not shared.

    It must train with checkpointing, and every rank must make as many forward passes as the others.
    """
    layers = [ShardedLayer(module, device) for module in net.get_decoder().layers]

    def turn(layer: ShardedLayer, *_: Any) -> None:
        if not layer.is_whole:
            for other in layers:
                if other.is_whole:
                    other.release()
            layer.gather()

    for module, layer in zip(net.get_decoder().layers, layers, strict=True):
        # Of the parts: a layer's own hooks are not called when checkpointing computes it again.
        for part in module.children():
            part.register_forward_pre_hook(partial(turn, layer))
    torch.nn.Module.to(net, device)
    for module in net.modules():
        if (state := getattr(module, "quant_state", None)) is not None:
            state.to(device)
    net.hf_device_map = {"": device}  # accelerate trains no quantized model that it takes for one on another device
    return layers


def exclude_from_ddp(net: Any) -> None:
    """DDP would send every weight of rank 0's to the others, those too that are not there."""
    names = [name for name, weight in net.named_parameters() if weight.dtype == torch.uint8]
    net._ddp_params_and_buffers_to_ignore = names
