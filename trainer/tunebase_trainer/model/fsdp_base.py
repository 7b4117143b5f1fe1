"""An unquantized base model sharded across GPUs by torch's FSDP2: each rank holds a shard of every layer.

The base is frozen, so FSDP2 only gathers its layers and has no gradients to reduce. LoRA is added afterwards, so FSDP2
does not manage the adapter, which is replicated on every rank and trained with DDP, as with a base in NF4
(sharded_base.py). Embeddings, the output projection and the final norm are replicated too, because the loss reads the
projection outside the model's forward pass.
"""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel

from . import distributed


def mesh_of_all_ranks() -> DeviceMesh:
    """Collective: every rank must call it."""
    return init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (distributed.world_size(),))


def shard(net: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Moves this rank's shard of a model on the CPU, and everything that is not sharded, to the mesh's device.

    A complete layer is on the device only while it is being sharded. Every rank must run the same number of forward
    passes.
    """
    decoder = net.get_decoder()
    complete = set(decoder.parameters())
    for layer in decoder.layers:
        complete -= set(layer.parameters())
        fully_shard(layer, mesh=mesh)
    # The model is their root, so that FSDP2 prefetches a layer while another one computes.
    fully_shard(decoder, mesh=mesh, ignored_params=complete)
    if torch.cuda.is_available():
        torch.nn.Module.to(net, torch.device("cuda", torch.cuda.current_device()))
