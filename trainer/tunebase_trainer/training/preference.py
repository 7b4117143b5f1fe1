"""Direct preference optimization: of two answers to one prompt, the better one is to become the likelier one.

Rafailov et al., Direct Preference Optimization (arXiv 2305.18290), equation 7. An answer's reward is how much likelier
(in nats, times beta) it is than it was before the first step. What it was then, the reference, is computed once, with
the weights that training begins with: the base model's, or those of an earlier fine-tune. So no second model is kept,
and a step costs no more than a supervised one of as many tokens.
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

BETA = 0.1
"""For callers that do not say; the paper's, and TRL's."""


def reward_margins(model: Any, batch: dict[str, torch.Tensor], beta: float) -> torch.Tensor:
    """The better answer's reward minus the other's, of each pair."""
    rewards = beta * (answer_log_probs(model, batch) - batch["reference"])
    return rewards[:, 0] - rewards[:, 1]


def loss_of(model: Any, batch: dict[str, torch.Tensor], beta: float, items: torch.Tensor | int | None) -> torch.Tensor:
    """The loss of the batch's pairs, divided by `items` (their number in the whole step) or by its own number."""
    real = learned_pairs(batch)
    total = -(logsigmoid(reward_margins(model, batch, beta)) * real).sum()
    return total / (items if items is not None else real.sum())


def learned_pairs(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of each pair, whether it is one: a padding_example has nothing that is learned."""
    return (batch["labels"] != IGNORED).any(dim=1)[::2]


def answer_log_probs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The log-probability of each answer, [pairs, 2]: the sum over its tokens."""
    losses, learned = token_losses(model, batch)
    # Not index_add: on a GPU that adds in any order.
    return -losses.new_zeros(learned.shape).masked_scatter(learned, losses).sum(dim=1).view(-1, 2)


@torch.no_grad()
def compute_reference(net: Any, pairs: list[Example], size: int, pad: int, plan: Plan) -> torch.Tensor:
    """The answers' log-probabilities with the weights as they are now, without dropout; `size` pairs at once.

    Several processes share the pairs. Raises Stopped when `plan` was asked to stop, or its time is over.
    """
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].length, reverse=True)
    found = torch.zeros(len(pairs), 2)
    training = net.training
    net.eval()
    for start in range(0, len(order), size * distributed.world_size()):
        asked, over = (
            distributed.any_rank(plan.stop_requested()),
            distributed.any_rank(time.monotonic() >= plan.deadline),
        )
        if asked or over:
            raise Stopped(0, not asked)
        begin = start + size * distributed.rank()
        mine = order[begin : begin + size]
        # Who has none left goes through the model too: a shared base is put together by all.
        examples = [pairs[i] for i in mine or order[:1]]
        batch = {name: part.to(net.device) for name, part in collate(examples, pad).items()}
        with precision.autocast(net.device.type):
            values = answer_log_probs(net, batch).cpu()
        if mine:
            found[mine] = values
    net.train(training)
    shared: torch.Tensor = distributed.all_reduce(found)
    return shared


def attach_reference(pairs: list[Example], values: torch.Tensor) -> list[Example]:
    """The pairs with the reference of each."""
    return [
        replace(pair, reference=(chosen, rejected)) if isinstance(pair, Pair) else pair
        for pair, (chosen, rejected) in zip(pairs, values.tolist(), strict=True)
    ]


def save_reference(directory: Path, values: torch.Tensor) -> None:
    save_file({"reference": values}, directory / REFERENCE_FILE)


def load_reference(directory: Path) -> torch.Tensor:
    """That of the checkpoint in `directory`."""
    return load_file(directory / REFERENCE_FILE)["reference"]
