"""The stages of a run with a model of 0.6B parameters: time and peak memory of each, and the estimate of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.devices import needs_cuda
from support.stages import MEASURED, stage
from transformers import AutoConfig

from tunebase_trainer.bench import random_weights
from tunebase_trainer.bench.gpu import batch, free
from tunebase_trainer.data.dataset import Row
from tunebase_trainer.evaluation.validation import validate
from tunebase_trainer.model.lora import add_lora, save_adapter
from tunebase_trainer.model.quantization import Nf4Config
from tunebase_trainer.training.gpu_memory import estimate_memory
from tunebase_trainer.training.loss import supervised_loss
from tunebase_trainer.training.preflight import count_parameters

pytestmark = needs_cuda

RANK, STEPS = 16, 8
# Qwen3-0.6B's, with an output projection of its own.
SHAPE: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": False,
}
ROWS, TOKENS = 4, 2048


def test_each_stage_is_measured_and_training_takes_at_most_a_few_times_the_estimated_memory(tmp_path: Path) -> None:
    config = AutoConfig.for_model("qwen3", **SHAPE)
    torch.manual_seed(0)
    with stage("create, quantize"):
        net = random_weights.load(config, Nf4Config())
    with stage("add the adapter"):
        adapted, trainable = add_lora(net, RANK, 2 * RANK, 0.0)
    adapted.train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4)
    data = batch(config.vocab_size, ROWS, TOKENS)

    def step() -> float:
        with torch.autocast(data["input_ids"].device.type, torch.bfloat16):
            loss = supervised_loss(adapted, data, None)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    with stage(f"first step, {ROWS} × {TOKENS} tokens"):
        losses = [step()]
    with stage(f"{STEPS} more steps"):
        losses += [step() for _ in range(STEPS)]
    training = MEASURED[-1]
    rows = [Row(ids, ids) for ids in data["input_ids"].tolist()]

    def to_batch(chosen: Any) -> dict[str, torch.Tensor]:
        ids = torch.tensor([row.input_ids for row in chosen], device=data["input_ids"].device)
        return {"input_ids": ids, "labels": ids}

    with stage("validation"):
        validate(adapted, rows, [list(range(len(rows)))], to_batch, None)
    with stage("save the adapter"):
        save_adapter(adapted, tmp_path, "random", None)
    assert losses[-1] < losses[0], "the same batch again and again is learned"

    if training.peak is None:
        return
    counts = count_parameters(config, RANK, "all-linear")
    assert counts.trainable == trainable
    estimate = estimate_memory(counts, "nf4")
    # Of one row at a time, which decides whether a job is rejected, the estimate is a lower bound without logits and
    # workspaces. A run must not be rejected that fits, and what it leaves out must be no more than this.
    fixed = estimate.required(0)
    assert estimate.base < training.peak
    assert training.peak < fixed + 4 * estimate.per_token * ROWS * TOKENS + 2 * 2**30


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the memory of a GPU")
def test_loading_takes_no_more_than_what_is_loaded_and_one_matrix() -> None:
    config = AutoConfig.for_model("qwen3", **SHAPE)
    free()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    net = random_weights.load(config, Nf4Config())
    loaded = torch.cuda.memory_allocated() - before
    largest = max(parameter.numel() for parameter in net.parameters() if parameter.dtype == torch.bfloat16)
    # The largest tensor in bf16 twice, as it is drawn and as it is scaled, and some room.
    assert torch.cuda.max_memory_allocated() - before < loaded + 3 * 2 * largest + 64 * 2**20
