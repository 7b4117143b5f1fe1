"""The supervised loss: cross-entropy over the trained tokens. Only those are projected to logits, in chunks."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ..contract import MIN_LEARNING_RATE
from ..data.dataset import IGNORED
from ..errors import TrainerError
from ..model import precision

MAX_LOGITS = {"cpu": 2**23, "cuda": 2**26}
"""The maximum number of logits in memory, for any batch and vocabulary: 32 MiB in fp32 (with four times as many, a CPU
took 1.35 times as long, measured), 256 MiB on a GPU."""


def supervised_loss(model: Any, batch: dict[str, torch.Tensor], items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross-entropy in nats over the trained tokens, divided by `items` (the whole step's) or by their number."""
    losses, _ = token_losses(model, batch)
    return losses.sum() / (items if items is not None else losses.numel())


def count_learned_tokens(batch: dict[str, torch.Tensor]) -> int:
    return int((batch["labels"][:, 1:] != IGNORED).sum())


def token_losses(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross-entropy of each trained token, in nats, and a mask [rows, tokens - 1] of those tokens.

    Needs no attention mask, because rows are padded at the end and attention is causal. Packed rows are kept separate
    by their boundaries (kernels/packed_attention.py).
    """
    causal = getattr(model, "module", model)
    head = causal.get_output_embeddings()
    if head.weight.requires_grad:
        raise RuntimeError("the output projection must be frozen: it gets no gradient here")
    caught: list[torch.Tensor] = []

    def catch(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        """Skips the projection in the model's own forward, which is still needed for DDP and autocast."""
        caught.append(args[0])
        return (args[0][:, :0],)

    hook = head.register_forward_pre_hook(catch)
    try:
        model(input_ids=batch["input_ids"], use_cache=False, **_boundaries(batch))
    finally:
        hook.remove()
    targets = batch["labels"][:, 1:]
    learned = targets != IGNORED
    hidden = caught[0][:, :-1][learned].to(head.weight.dtype)
    cap = getattr(causal.config, "final_logit_softcapping", None)
    losses: torch.Tensor = _CrossEntropy.apply(hidden, head.weight, targets[learned], cap)
    return losses, learned


def _boundaries(batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """For packed rows, the arguments that transformers passes to its attention."""
    if "boundaries" not in batch:
        return {}
    starts, longest = batch["boundaries"], int(batch["lengths"].max())
    return {
        "position_ids": batch["position_ids"],
        **{f"cu_seq_lens_{side}": starts for side in "qk"},
        **{f"max_length_{side}": longest for side in "qk"},
    }


@torch.no_grad()
def check_projection(net: Any) -> None:
    """Checks that `supervised_loss` equals the model's own loss. Raises TrainerError `invalid_input` otherwise.

    Some architectures transform their logits after the projection, of which only Gemma 2's softcap is implemented here.
    """
    ids = torch.arange(1, 9, device=net.device)[None]
    training = net.training
    net.eval()
    with precision.autocast(net.device.type):
        expected = float(net(input_ids=ids, labels=ids, use_cache=False).loss)
        actual = float(supervised_loss(net, {"input_ids": ids, "labels": ids}, None))
    net.train(training)
    if abs(expected - actual) > 0.02 * expected:
        raise TrainerError(
            "invalid_input",
            f"The base model's architecture, {net.config.model_type}, is not supported: it transforms its logits after "
            f"the output projection (its loss is {expected:.3f}; without the transformation, {actual:.3f}).",
            "Use a model of another architecture.",
        )


class _CrossEntropy(torch.autograd.Function):
    """The cross-entropy of each row of `hidden`. Computes the gradient at the same time, chunk by chunk, so that no
    logits are kept; backward only scales each row's gradient."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, cap: float | None
    ) -> torch.Tensor:
        gradient = torch.empty_like(hidden)
        losses = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        size = max(1, MAX_LOGITS[weight.device.type] // weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            part = slice(start, start + size)
            logits = torch.nn.functional.linear(hidden[part], weight).float()
            if cap is not None:
                logits = logits.div_(cap).tanh_()
                capped = 1 - logits.square()
                logits *= cap
            target = targets[part, None]
            logs = torch.log_softmax(logits, dim=-1)
            losses[part] = -logs.gather(1, target)[:, 0]
            if ctx.needs_input_grad[0]:
                off = logs.exp_().scatter_add_(1, target, torch.full_like(target, -1, dtype=logs.dtype))
                if cap is not None:
                    off *= capped
                gradient[part] = off.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # Multiplies in fp32 and rounds once, without an fp32 copy of the whole gradient.
        return torch.mul(gradient, grad_losses[:, None], out=torch.empty_like(gradient)), None, None, None


class TrainingDiverged(Exception):
    """The loss or gradient of `step` is not finite."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def non_finite_loss_error(step: int, learning_rate: float, checkpoint_step: int | None) -> TrainerError:
    """The error for the user. `checkpoint_step`: the step of the newest checkpoint."""
    lower = max(MIN_LEARNING_RATE, learning_rate / 2)
    advice = f"Lower learning_rate = {learning_rate:g}: try {lower:g}. "
    if lower >= learning_rate:
        advice = f"learning_rate = {learning_rate:g} is already the minimum. "
    return TrainerError(
        "non_finite_loss",
        f"Training diverged at step {step}: its loss or gradient is NaN or infinite."
        + (f" The checkpoint of step {checkpoint_step} is kept." if checkpoint_step is not None else ""),
        f"{advice}Check the data for malformed rows, such as very long numbers or a single repeated character.",
    )
