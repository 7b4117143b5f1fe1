"""The LoRA part of a layer as one function, in bf16, with a fast dropout mask.

PEFT's forward clones the base's output, multiplies and adds in separate passes, and takes the dropout mask from
`bernoulli_`: on a CPU that alone was 28 % of a step (SmolLM2-135M, r = 16, measured). The result is the same, and so is
the distribution of the mask.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.bnb import Linear4bit
from peft.tuners.lora.layer import Linear
from torch.autograd.function import once_differentiable

from .cpu_dropout import dropout_mask


def fuse_lora_layers(net: torch.nn.Module) -> int:
    """Replaces the forward of every plain LoRA layer while autocast is on. Returns the number of layers."""
    layers = [
        module for module in net.modules() if isinstance(module, (Linear, Linear4bit)) and not module.lora_variant
    ]
    for layer in layers:
        layer.forward = _Forward(layer)
    return len(layers)


class _Forward:
    """A layer's `forward`. Uses PEFT's if the adapter is disabled or merged, or if autocast is off."""

    def __init__(self, layer: LoraLayer) -> None:
        self.layer, self.peft_forward = layer, layer.forward

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        layer = self.layer
        if layer.disable_adapters or layer.merged or args or kwargs or not torch.is_autocast_enabled(x.device.type):
            result: torch.Tensor = self.peft_forward(x, *args, **kwargs)
            return result
        result = layer.base_layer(x)
        for name in layer.active_adapters:
            if name in layer.lora_A:
                dropout = layer.lora_dropout[name]
                p = dropout.p if layer.training and isinstance(dropout, torch.nn.Dropout) else 0.0
                result = _Lora.apply(
                    result, x, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], p
                )
        return result


class _Lora(torch.autograd.Function):
    """`base + B(A(dropout(x))) * scaling`, in the base's dtype; the gradients of A and B are in fp32."""

    @staticmethod
    def forward(
        ctx: Any, base: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float, p: float
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(base.dtype)
        a, b = a.to(base.dtype), b.to(base.dtype)
        mask = dropout_mask(rows, p) if p > 0 else None
        scale = scaling / (1 - p)
        low = (rows if mask is None else rows * mask) @ a.T
        ctx.save_for_backward(rows, a, b, low, mask)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return torch.addmm(base.reshape(-1, base.shape[-1]), low, b.T, alpha=scale).view(base.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, a, b, low, mask = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        grad_low = flat @ (b * ctx.scale)
        grad_b = (low.T @ flat).T * ctx.scale
        grad_a = grad_low.T @ (rows if mask is None else rows * mask)
        grad_x = None
        if ctx.needs_input_grad[1]:
            grad_x = grad_low @ a
            if mask is not None:
                grad_x *= mask
            grad_x = grad_x.view(ctx.shape).to(ctx.dtype)
        return gradient, grad_x, grad_a.float(), grad_b.float(), None, None
