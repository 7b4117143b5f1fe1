"""liger-kernel's kernels are used where they equal the model's own. Here its interface is in plain torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from support import tiny_models
from transformers import AutoModelForCausalLM

from tunebase_trainer import kernels
from tunebase_trainer.kernels import liger
from tunebase_trainer.model.lora import add_lora

CPU = torch.device("cpu")
ALL = ["RMSNorm", "SwiGLU", "RoPE"]
KINDS = {"llama": ALL, "qwen3": ALL, "qwen3_next": ALL, "gemma2": ["RMSNorm", "RoPE"]}


class Function:
    """Called as `torch.autograd.Function`s are."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self.compute, self.calls = compute, 0

    def apply(self, *args: Any) -> Any:
        self.calls += 1
        return self.compute(*args)


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, offset: float, casting: str, in_place: bool
) -> torch.Tensor:
    assert not in_place
    normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    if casting == "gemma":
        return (normed * (offset + weight.float())).to(x.dtype)
    return (offset + weight) * normed.to(x.dtype)


def silu_mul(gate: torch.Tensor, up: torch.Tensor, gate_multiplier: float, down_multiplier: float) -> torch.Tensor:
    return torch.nn.functional.silu(gate * gate_multiplier) * up * down_multiplier


class Rotate(torch.autograd.Function):
    """In place, as liger-kernel does it."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        ctx.save_for_backward(cos, sin)
        for given in (q, k):
            given.copy_(rotated(given, cos, sin))
        return q.clone(), k.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return *(rotated(gradient, cos, -sin) for gradient in gradients), None, None


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The first columns, as many as `cos` has."""
    cos, sin, size = cos[:, None], sin[:, None], cos.shape[-1]
    first, second = x[..., : size // 2], x[..., size // 2 : size]
    turned = x[..., :size] * cos + torch.cat((-second, first), -1) * sin
    return torch.cat((turned, x[..., size:]), -1)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    package, ops = ModuleType("liger_kernel"), ModuleType("liger_kernel.ops")
    package.__spec__ = ModuleSpec("liger_kernel", None)
    functions: dict[str, Any] = {
        "LigerRMSNormFunction": Function(rms_norm),
        "LigerSiLUMulFunction": Function(silu_mul),
        "LigerRopeFunction": Function(Rotate.apply),
    }
    ops.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", ops)
    return ops


@pytest.fixture(autouse=True)
def own_rotary_embeddings() -> Iterator[None]:
    yield
    for module in list(sys.modules.values()):
        if isinstance(own := vars(module).get("apply_rotary_pos_emb"), liger._Rotary):
            vars(module)["apply_rotary_pos_emb"] = own.own


def model(kind: str) -> Any:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(tiny_models.config(kind), dtype=torch.bfloat16)
    net, _ = add_lora(net, 4, 8, 0.0)
    torch.manual_seed(1)
    for name, weight in net.named_parameters():
        if "lora_B" in name or "norm" in name:
            weight.data += 0.3 * torch.randn_like(weight)
    return net


def trained(net: Any) -> tuple[float, torch.Tensor]:
    ids = torch.arange(3, 43).view(2, 20)
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = [weight.grad.flatten() for weight in net.parameters() if weight.grad is not None]
    return float(loss.detach()), torch.cat(gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_that_equal_the_models_own_are_used_and_change_nothing(kind: str, library: Any) -> None:
    net = model(kind)
    loss, gradient = trained(net)
    state = torch.random.get_rng_state()
    installed = liger.install(net, CPU)
    assert torch.equal(torch.random.get_rng_state(), state), "the run's random numbers are unchanged"
    assert (installed.on, installed.off) == (KINDS[kind], {})
    before = {name: function.calls for name, function in vars(library).items() if isinstance(function, Function)}
    found_loss, found = trained(net)
    assert found_loss == pytest.approx(loss, rel=5e-3)
    assert float((found - gradient).norm() / gradient.norm()) < 0.05
    used = {name for name, calls in before.items() if vars(library)[name].calls > calls}
    assert len(used) == len(installed.on)


def test_a_kernel_that_computes_something_else_stays_off(library: Any) -> None:
    library.LigerSiLUMulFunction = Function(lambda gate, up, *_: 1.03 * silu_mul(gate, up, 1.0, 1.0))
    library.LigerRopeFunction = Function(lambda q, k, cos, sin: Rotate.apply(q, k, cos, -sin))

    class WrongGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, *args: Any) -> torch.Tensor:
            return rms_norm(x, *args)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            return gradient, None, None, None, None, None

    library.LigerRMSNormFunction = Function(WrongGradient.apply)
    net = model("llama")
    before = trained(net)
    installed = liger.install(net, CPU)
    assert installed.on == [] and list(installed.off) == ["RMSNorm", "SwiGLU", "RoPE"]
    assert installed.off["SwiGLU"].startswith("it differs from the model's own by 3.")
    found = trained(net)
    assert found[0] == before[0] and torch.equal(found[1], before[1])


def test_a_kernel_that_fails_or_makes_nan_stays_off_and_the_log_says_why(library: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    library.LigerRopeFunction = Function(fail)
    library.LigerSiLUMulFunction = Function(lambda gate, up, *_: gate * up * float("nan"))
    assert liger.install(model("qwen3"), CPU).describe() == (
        "liger-kernel (RMSNorm), not liger-kernel's SwiGLU (it computes NaN or infinity), "
        "not liger-kernel's RoPE (RuntimeError: no kernel image is available)"
    )


def test_the_operator_can_disable_them(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBASE_LIGER", "0")
    assert liger.install(model("llama"), CPU) == liger.Installed()
    assert library.LigerRopeFunction.calls == 0


def test_without_the_library_or_a_gpu_the_models_own_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model("llama")
    assert not [module for module in net.modules() if isinstance(module.forward, (liger._Norm, liger._SwiGlu))]
    assert "liger" not in kernels.describe()
    monkeypatch.setattr(liger.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    assert liger.install(net, CPU).describe() == "no liger-kernel"
