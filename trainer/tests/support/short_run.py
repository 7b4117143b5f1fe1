"""A run of the training loop in this process: 8 rows, 2 epochs of 2 steps of 2 micro-batches, unless it is changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tunebase_trainer.data.batches import padded_tokens
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training.checkpoint_state import TrainingState
from tunebase_trainer.training.checkpoints import Plan
from tunebase_trainer.training.loop import TrainingResult, train

HYPER: dict[str, Any] = {
    "num_epochs": 2,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "lora_rank": 8,
    "lr_schedule": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "early_stopping_patience": 0,
    "eval_steps": None,
    "max_length": 512,
    "seed": 1,
}


def run(
    model: Any,
    tokenizer: Any,
    rows: Any,
    directory: Path,
    *,
    validation: Any = None,
    micro: int = 2,
    micro_batch_tokens: int | None = None,
    warmup: int = 1,
    every: float = math.inf,
    total_steps: int | None = None,
    probe_largest: bool = False,
    resume: tuple[Path, TrainingState] | None = None,
    prepare: Callable[[Any], None] = lambda net: None,
    dropout: float = 0.0,
    on_gpu: bool = False,
    variant: str = "lora",
    packing: bool = False,
    **changes: Any,
) -> tuple[TrainingResult, list[dict[str, Any]]]:
    """Trains `model`; returns its outcome and its events. `prepare` gets the network before the first step.

    `validation`: by default the first two rows, after each epoch or every `eval_steps`. `micro`: the rows of the
    longest one's length that a micro-batch has room for, instead of `micro_batch_tokens`.
    `every`: seconds from checkpoint to checkpoint. `changes`: of the hyperparameters.
    """
    events: list[dict[str, Any]] = []
    hyper = HYPER | changes
    torch.manual_seed(0)
    net, trainable = add_lora(model, rank=4, alpha=8, dropout=dropout, variant=variant)
    assert trainable == sum(p.numel() for p in net.parameters() if p.requires_grad) // (1 + (variant == "pissa"))
    prepare(net)
    steps_per_epoch = math.ceil(len(rows) / hyper["batch_size"])
    validation = rows[:2] if validation is None else validation
    outcome = train(
        net,
        tokenizer,
        rows,
        validation,
        hyper,
        micro_batch_tokens=micro_batch_tokens or micro * max(padded_tokens(row) for row in rows),
        warmup_steps=warmup,
        on_gpu=on_gpu,
        plan=Plan(
            seconds=every,
            stop_requested=lambda: False,
            deadline=math.inf,
            total_steps=total_steps or steps_per_epoch * hyper["num_epochs"],
            eval_steps=(hyper["eval_steps"] or steps_per_epoch) if validation else None,
            total_tokens=sum(row.tokens for row in rows) * hyper["num_epochs"],
            run={},
            base=("tiny", None),
            emit=lambda kind, **fields: events.append({"type": kind, **fields}),
        ),
        directory=directory,
        resume=resume,
        probe_largest=probe_largest,
        packing=packing,
    )
    return outcome, events
