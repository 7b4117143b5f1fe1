"""LoRA of PEFT 0.21 on routed experts that are packed in NF4: what it gets wrong, put right on our model.

PEFT adds its low-rank update as one more parametrization for the time of a forward pass. Below it is another, NF4's:

- It nests the two parameters' wrappers the other way round than on plain ones: the adapter would fit no plain model.
- It looks for its own by a class that it has no more, finds none, and leaves it there: the update counts once more with
  each pass.
- Reading the parameter, for its type and in torch's checks, it dequantizes it, and, as the wrapper around has the cache
  on, keeps that for the pass, without the update: the inner one of two wrappers learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from bitsandbytes.nn.parametrize import Bnb4bitParametrization
from peft.tuners.lora.layer import ParamWrapper, _LoraFactorsProxy


@contextmanager
def unpacked_placeholders(net: torch.nn.Module) -> Iterator[None]:
    """While PEFT adds its wrappers, packed experts have stand-ins: plain parameters of their shapes, without values."""
    packed = {
        path: module
        for path, module in net.named_modules()
        if any(
            isinstance(chain[0], Bnb4bitParametrization) for chain in getattr(module, "parametrizations", {}).values()
        )
    }
    for path, module in packed.items():
        plain = torch.nn.Module()
        for name, chain in module.parametrizations.items():
            shape, dtype, device = chain[0].quant_state.shape, chain[0].quant_state.dtype, chain.original.device
            value = torch.zeros(1, dtype=dtype, device=device).expand(shape)
            plain.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
        net.set_submodule(path, plain)
    try:
        yield
    finally:
        for path, module in packed.items():
            outer = found = net.get_submodule(path)
            while isinstance(found, ParamWrapper):
                _support(found, module)
                outer, found = found, found.base_layer
            if outer is found:
                net.set_submodule(path, module)
            else:
                outer.base_layer = module


def _support(wrapper: Any, module: Any) -> None:
    """Has the wrapper add its update, and remove it, without reading the parameter."""
    chain = module.parametrizations[wrapper.parameter_name]
    state = chain[0].quant_state
    wrapper.get_param = partial(torch.empty, state.shape, dtype=state.dtype, device="meta")
    wrapper._activate_lora = partial(_updated, wrapper, chain)


@contextmanager
def _updated(wrapper: Any, chain: torch.nn.ModuleList, adapters: list[str]) -> Iterator[None]:
    active = [name for name in adapters if name in wrapper.lora_A]
    chain.extend(_LoraFactorsProxy(*wrapper.get_delta_factors(name)) for name in active)
    try:
        yield
    finally:
        for _ in active:
            del chain[-1]
