"""The optimizer that training uses against the plain one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.devices import DEVICES, relative_error
from support.short_run import HYPER
from transformers import Trainer

from tunebase_trainer.training.trainer import training_arguments


@pytest.mark.parametrize("device", DEVICES)
def test_fused_adamw_moves_weights_as_plain_adamw_does(device: str, tmp_path: Path) -> None:
    hyper = HYPER | {"weight_decay": 0.1}
    arguments = training_arguments(
        hyper, str(tmp_path), warmup_steps=0, total_steps=30, eval_steps=None, on_gpu=device == "cuda"
    )
    fused, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    assert options.pop("fused") is True
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((33, 17), (64,), (1, 1))]
    gradients = [[torch.randn(weight.shape, generator=generator) for weight in start] for _ in range(30)]
    moved = []
    for optimizer_options in ({"fused": True}, {"foreach": False}):
        weights = [torch.nn.Parameter(weight.to(device)) for weight in start]
        optimizer = fused(weights, weight_decay=0.1, **options, **optimizer_options)
        for step in gradients:
            for weight, gradient in zip(weights, step, strict=True):
                weight.grad = gradient.to(device)
            optimizer.step()
        moved.append(weights)
    for found, expected in zip(*moved, strict=True):
        assert relative_error(found, expected) < 1e-6
