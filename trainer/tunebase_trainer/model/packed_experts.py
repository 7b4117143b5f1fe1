"""Fixes PEFT 0.21's LoRA on routed experts that are packed in NF4.

During each forward pass, PEFT adds its low-rank update as another parametrization on top of NF4's. That fails:

- It nests the wrappers of the two parameters in the opposite order from plain parameters, so that no plain model could
  load the adapter.
- It searches for its parametrization by a class that no longer exists, so it never removes it, and every pass adds the
  update again.
- Reading the parameter (for its dtype, and in torch's checks) dequantizes it, and the outer wrapper's cache keeps that
  value, without the update, for the whole pass. So the inner one of two wrappers learns nothing.
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
    """Replaces packed experts with plain parameters of the same shapes, without values, while PEFT adds its
    wrappers."""
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
            outer = inner = net.get_submodule(path)
            while isinstance(inner, ParamWrapper):
                _patch_wrapper(inner, module)
                outer, inner = inner, inner.base_layer
            if outer is inner:
                net.set_submodule(path, module)
            else:
                outer.base_layer = module


def _patch_wrapper(wrapper: Any, module: Any) -> None:
    """Makes the wrapper add and remove its update without reading the parameter."""
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
