"""The chunked cross entropy against torch's, on the same device and in fp64."""

from __future__ import annotations

import pytest
import torch
from support.devices import DEVICES, needs_cuda, relative_error
from torch.nn import functional

from tunebase_trainer.training import loss as training_loss
from tunebase_trainer.training.loss import MAX_LOGITS, _CrossEntropy

TOKENS, WIDTH, VOCABULARY = 53, 64, 331


def inputs(device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator).to(device, dtype).requires_grad_()
    weight = (torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.3).to(device, dtype)
    return hidden, weight, torch.randint(VOCABULARY, (TOKENS,), generator=generator).to(device)


def by_torch(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, cap: float | None, dtype: torch.dtype
) -> torch.Tensor:
    """Of each token, with logits and softmax in `dtype`."""
    logits = functional.linear(hidden, weight).to(dtype)
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return functional.cross_entropy(logits, targets, reduction="none")


def with_gradient(losses: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token's loss has a weight of its own, so that a gradient in another token's place is noticed."""
    weights = torch.linspace(0.5, 1.5, TOKENS, device=losses.device, dtype=losses.dtype)
    (gradient,) = torch.autograd.grad((losses * weights).sum() / TOKENS, hidden)
    return losses.detach(), gradient


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("device", DEVICES)
def test_losses_and_gradients_are_as_accurate_as_torchs(
    device: str, dtype: torch.dtype, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chunks of 7 tokens: seven whole ones, and one of four.
    monkeypatch.setitem(training_loss.MAX_LOGITS, device, 7 * VOCABULARY)
    hidden, weight, targets = inputs(device, dtype)
    exact = hidden.detach().double().cpu().requires_grad_()
    true = with_gradient(by_torch(exact, weight.double().cpu(), targets.cpu(), cap, torch.float64), exact)
    theirs = with_gradient(by_torch(hidden, weight, targets, cap, torch.float32), hidden)
    ours = with_gradient(_CrossEntropy.apply(hidden, weight, targets, cap), hidden)
    assert ours[0].dtype == torch.float32 and ours[1].dtype == dtype
    for found, reference, expected in zip(ours, theirs, true, strict=True):
        if dtype == torch.float32:
            # The order of sums; a GPU's matrix products are in fp32 too, as torch leaves TF32 off.
            assert relative_error(found, expected) < 1e-5
        else:
            # Both round the logits and the gradient to bf16. Ours also rounds the gradient once before it is scaled.
            assert relative_error(found, expected) < 1.5 * relative_error(reference, expected) + 2.0**-9
            assert relative_error(found, expected) < 0.02


@needs_cuda
def test_a_large_vocabulary_takes_the_memory_of_one_chunk() -> None:
    """Of 4,096 tokens and Qwen 3's 151,936 logits, fp32 logits alone would take 2.3 GiB, their gradient as much."""
    hidden = torch.randn(4096, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(151_936, 256, device="cuda", dtype=torch.bfloat16)
    targets = torch.randint(151_936, (4096,), device="cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _CrossEntropy.apply(hidden, weight, targets, None).sum().backward()
    used = torch.cuda.max_memory_allocated() - before
    # A chunk's logits in bf16 and fp32, their log-softmax in fp32, and its gradient in bf16 for the product, are 12
    # bytes per logit; another 8 are room for temporary copies.
    assert used < 20 * MAX_LOGITS["cuda"] + 4 * hidden.numel() * hidden.element_size()
    assert hidden.grad is not None and bool(hidden.grad.isfinite().all())
