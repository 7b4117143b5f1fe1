"""Direct preference optimization (DPO): makes the preferred one of two answers to a prompt more likely.

Rafailov et al., Direct Preference Optimization (arXiv 2305.18290), equation 7. An answer's reward is beta times the
increase of its log-probability, in nats, since before the first step. That earlier log-probability, the reference, is
computed once, with the weights that training starts from: the base model's, or an earlier fine-tune's. So no second
model is needed, and a step costs no more than a supervised step with as many tokens.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import logsigmoid

from ..data.batches import collate
from ..data.dataset import IGNORED, Example, Pair
from ..model import distributed, precision
from .checkpoint_state import REFERENCE_FILE
from .checkpoints import Plan, Stopped
from .loss import token_losses

DEFAULT_BETA = 0.1
"""The default beta of the paper and of TRL."""


def apply_default_beta(hyper: dict[str, Any]) -> None:
    if hyper.get("method") == "dpo":
        hyper["beta"] = hyper.get("beta") or DEFAULT_BETA


def reward_margins(model: Any, batch: dict[str, torch.Tensor], beta: float) -> torch.Tensor:
    """The preferred answer's reward minus the other's, for each pair."""
    rewards = beta * (answer_log_probs(model, batch) - batch["reference"])
    return rewards[:, 0] - rewards[:, 1]


def dpo_loss(model: Any, batch: dict[str, torch.Tensor], beta: float, items: torch.Tensor | int | None) -> torch.Tensor:
    """The loss of the batch's pairs, divided by `items` (the whole step's pairs) or by their number."""
    real = learned_pairs(batch)
    total = -(logsigmoid(reward_margins(model, batch, beta)) * real).sum()
    return total / (items if items is not None else real.sum())


def learned_pairs(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """For each pair, whether it is real. Padding examples are not trained on."""
    return (batch["labels"] != IGNORED).any(dim=1)[::2]


def count_pairs(batch: dict[str, torch.Tensor]) -> int:
    return int(learned_pairs(batch).sum())


def answer_log_probs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The log-probability of each answer, [pairs, 2]: the sum over its tokens."""
    losses, learned = token_losses(model, batch)
    # Not index_add, which is nondeterministic on a GPU.
    return -losses.new_zeros(learned.shape).masked_scatter(learned, losses).sum(dim=1).view(-1, 2)


@torch.no_grad()
def compute_reference(net: Any, pairs: list[Example], batches: list[list[int]], pad: int, plan: Plan) -> torch.Tensor:
    """The answers' log-probabilities with the current weights, without dropout.

    `batches`: indices of `pairs`, which the ranks share. Raises Stopped when `plan` requests it, or at its deadline.
    """
    log_probs = torch.zeros(len(pairs), 2)
    training = net.training
    net.eval()
    for start in range(0, len(batches), distributed.world_size()):
        requested, over = (
            distributed.any_rank(plan.stop_requested()),
            distributed.any_rank(time.monotonic() >= plan.deadline),
        )
        if requested or over:
            raise Stopped(0, not requested)
        mine = [index for batch in batches[start + distributed.rank() :][:1] for index in batch]
        # A rank without pairs also runs the model, because all ranks gather a sharded base together.
        examples = [pairs[i] for i in mine or batches[-1][-1:]]
        batch = {name: part.to(net.device) for name, part in collate(examples, pad).items()}
        with precision.autocast(net.device.type):
            values = answer_log_probs(net, batch).cpu()
        if mine:
            log_probs[mine] = values
    net.train(training)
    shared: torch.Tensor = distributed.all_reduce(log_probs)
    return shared


def attach_reference(pairs: list[Example], values: torch.Tensor) -> list[Example]:
    """The pairs, each with its reference."""
    return [
        replace(pair, reference=(chosen, rejected)) if isinstance(pair, Pair) else pair
        for pair, (chosen, rejected) in zip(pairs, values.tolist(), strict=True)
    ]


def save_reference(directory: Path, values: torch.Tensor) -> None:
    save_file({"reference": values}, directory / REFERENCE_FILE)


def load_reference(directory: Path) -> torch.Tensor:
    """Reads the reference from a checkpoint."""
    return load_file(directory / REFERENCE_FILE)["reference"]
