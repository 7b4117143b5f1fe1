"""liger-kernel's RMSNorm, SwiGLU and rotary embedding on a GPU, each replacing several small kernels.

Each is used only if it computes the same as the model's own: `install` compares outputs and gradients at the model's
widths, on a few random tokens. Architectures differ in details (Gemma's norm adds 1 to its weight, some rotary
embeddings interleave), and so may versions of the library. Kernels that differ or fail are not used; the job's log
lists those in use.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import torch

from ..model import precision

TOLERANCE = 0.02
"""Maximum relative error: bf16 rounds each value by up to 0.4%, several times in a row."""
TOKENS = 5
MAX_WIDTH = 65_536
"""The maximum number of columns that its kernels accept."""
CASTING = (("llama", 0.0), ("gemma", 1.0))
"""How RMSNorms cast values, and what they add to their weight."""

Tensors = Sequence[torch.Tensor]
Function = Callable[..., torch.Tensor | Tensors]


@dataclass
class Installed:
    on: list[str] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)
    """Why a kernel is not used."""

    def describe(self) -> str:
        parts = []
        if self.on:
            parts.append(f"liger-kernel ({', '.join(self.on)})")
        parts += [f"not liger-kernel's {name} ({reason})" for name, reason in self.off.items()]
        return ", ".join(parts) or "no liger-kernel"


def install(net: torch.nn.Module, device: torch.device) -> Installed:
    """Installs the kernels that compute the same as the model's own, in `net` and, for the rotary embedding, in the
    model's module in transformers."""
    installed = Installed()
    if importlib.util.find_spec("liger_kernel") is None or os.environ.get("TUNEBASE_LIGER") == "0":
        return installed
    # Random numbers and new modules here must not change the run.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        for name, replace in (("RMSNorm", _replace_norms), ("SwiGLU", _replace_mlps), ("RoPE", _replace_rotary)):
            try:
                reason = replace(net, device)
            except Exception as error:  # from the library, Triton's compiler, or a module with other arguments
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            if reason is None:
                installed.on.append(name)
            elif reason:
                installed.off[name] = reason
    return installed


# --- RMSNorm


class _Norm:
    """A module's `forward`."""

    def __init__(self, module: Any, casting: str, offset: float) -> None:
        self.module, self.casting, self.offset = module, casting, offset

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        from liger_kernel.ops import LigerRMSNormFunction

        # Not in place, because the residual connection also reads the gradient.
        normed: torch.Tensor = LigerRMSNormFunction.apply(
            x, self.module.weight, _epsilon(self.module), self.offset, self.casting, False
        )
        return normed


def _replace_norms(net: torch.nn.Module, device: torch.device) -> str | None:
    """Returns None if all were replaced, "" if there are none, and otherwise the reason."""
    kinds: dict[tuple[type, int, float], list[Any]] = {}
    module: Any
    for module in net.modules():
        if type(module).__name__.endswith("RMSNorm") and (epsilon := _epsilon(module)) and hasattr(module, "weight"):
            kinds.setdefault((type(module), int(module.weight.shape[-1]), epsilon), []).append(module)
    settings: dict[tuple[type, int, float], tuple[str, float]] = {}
    for kind in kinds:
        norm, size, epsilon = kind
        probe = _frozen(norm(size, eps=epsilon), device, 1.0)
        inputs = [_random(device, 2, TOKENS, 3, size)]
        errors = {setting: difference(probe, _Norm(probe, *setting), inputs) for setting in CASTING}
        settings[kind] = min(errors, key=lambda setting: errors[setting])
        if (error := errors[settings[kind]]) > TOLERANCE:
            return _differs(error)
    for kind, modules in kinds.items():
        for module in modules:
            module.forward = _Norm(module, *settings[kind])
    return None if kinds else ""


def _epsilon(module: Any) -> float:
    """0: the norm is not replaced."""
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return epsilon if isinstance(epsilon, float) else 0.0


# --- SwiGLU


class _SwiGlu:
    """A module's `forward`."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        from liger_kernel.ops import LigerSiLUMulFunction

        gate, up = self.module.gate_proj(x), self.module.up_proj(x)
        out: torch.Tensor = self.module.down_proj(LigerSiLUMulFunction.apply(gate, up, 1.0, 1.0))
        return out


def _replace_mlps(net: torch.nn.Module, device: torch.device) -> str | None:
    kinds: dict[tuple[type, int], list[Any]] = {}
    module: Any
    for module in net.modules():
        if _is_swiglu(module):
            kinds.setdefault((type(module), int(module.gate_proj.out_features)), []).append(module)
    for (mlp, width), modules in kinds.items():
        if width > MAX_WIDTH:
            return f"{width} columns, and it supports {MAX_WIDTH}"
        config = copy.copy(modules[0].config)
        config.hidden_size, config.intermediate_size = 64, width
        probe = _frozen(mlp(config), device, 0.0)
        if (error := difference(probe, _SwiGlu(probe), [_random(device, 2, TOKENS, 64)])) > TOLERANCE:
            return _differs(error)
    for modules in kinds.values():
        for module in modules:
            module.forward = _SwiGlu(module)
    return None if kinds else ""


def _is_swiglu(module: Any) -> bool:
    return (
        type(module).__name__.endswith("MLP")
        and all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "config"))
        and "SiLU" in type(getattr(module, "act_fn", None)).__name__
    )


# --- rotary embedding


class _Rotary:
    """Replaces `apply_rotary_pos_emb` in a model's module; `own` is the original."""

    def __init__(self, own: Function) -> None:
        self.own = own

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
    ) -> Any:
        if unsqueeze_dim != 1 or q.dim() != 4:
            return self.own(q, k, cos, sin, unsqueeze_dim)
        from liger_kernel.ops import LigerRopeFunction

        # The kernel writes into its inputs.
        return LigerRopeFunction.apply(q.clone(), k.clone(), cos, sin)


def _replace_rotary(net: torch.nn.Module, device: torch.device) -> str | None:
    embedding = next((module for name, module in net.named_modules() if name.endswith("rotary_emb")), None)
    attention: Any = next((module for module in net.modules() if _rotates(module)), None)
    if embedding is None or attention is None:
        return ""
    module = _module_of(attention)
    own = vars(module)["apply_rotary_pos_emb"]
    own = own.own if isinstance(own, _Rotary) else own
    heads = attention.config.num_attention_heads, attention.config.num_key_value_heads
    inputs = [_random(device, 2, TOKENS, count, int(attention.head_dim)) for count in heads]
    for rows in (1, 2):  # rows of positions: one for all rows, or one per row
        positions = torch.arange(TOKENS, device=device) + 7 * torch.arange(rows, device=device)[:, None]
        angles = embedding(inputs[0], positions)
        error = difference(partial(_rotate, own, *angles), partial(_rotate, _Rotary(own), *angles), inputs)
        if error > TOLERANCE:
            return _differs(error)
    vars(module)["apply_rotary_pos_emb"] = _Rotary(own)
    return None


def _rotate(function: Function, cos: torch.Tensor, sin: torch.Tensor, *states: torch.Tensor) -> Any:
    """Calls it like attention does, with views of [rows, tokens, heads, size]."""
    return function(*(state.transpose(1, 2) for state in states), cos, sin)


def _rotates(module: torch.nn.Module) -> bool:
    return type(module).__name__.endswith("Attention") and hasattr(_module_of(module), "apply_rotary_pos_emb")


def _module_of(module: torch.nn.Module) -> ModuleType:
    return sys.modules[type(module).__module__]


# --- comparison


def difference(own: Function, ours: Function, inputs: Tensors) -> float:
    """The largest relative error of an output of `ours`, or of the gradient of an input."""
    true, found = _outputs_and_gradients(own, inputs), _outputs_and_gradients(ours, inputs)
    errors = [float((one - other).norm() / other.norm()) for one, other in zip(found, true, strict=True)]
    return max(math.inf if math.isnan(error) else error for error in errors)


def _outputs_and_gradients(function: Function, inputs: Tensors) -> list[torch.Tensor]:
    """Outputs and gradients in fp32."""
    leaves = [given.clone().requires_grad_() for given in inputs]
    # Not the leaves themselves, which must not be modified.
    result = function(*(leaf * 1 for leaf in leaves))
    outputs = [result] if isinstance(result, torch.Tensor) else list(result)
    copies = [out.detach().float() for out in outputs]
    # A different gradient for each value.
    weights = [torch.linspace(-1, 2, out.numel(), device=out.device).view(out.shape).to(out.dtype) for out in outputs]
    return [*copies, *(gradient.float() for gradient in torch.autograd.grad(outputs, leaves, weights))]


def _frozen(module: Any, device: torch.device, mean: float) -> Any:
    """The module with random weights around `mean`."""
    module.to(device, precision.compute_dtype()).requires_grad_(False)
    for weight in module.parameters():
        weight.normal_(mean, 0.2)
    return module


def _random(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=device).to(precision.compute_dtype())


def _differs(error: float) -> str:
    return f"it differs from the model's own by {error:.1%}" if math.isfinite(error) else "it computes NaN or infinity"
