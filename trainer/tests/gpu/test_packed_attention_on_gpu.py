"""Packed rows on a GPU, with torch's varlen kernel: they see themselves alone, and train as padded rows do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models
from support.devices import needs_cuda, relative_error
from support.short_run import run
from support.stages import stage

from tunebase_trainer.bench.gpu import free
from tunebase_trainer.data.batches import collate, join
from tunebase_trainer.data.dataset import Row
from tunebase_trainer.model import loading, precision
from tunebase_trainer.training.loop import _enable_packing, _release_gpu_memory
from tunebase_trainer.training.loss import token_losses

pytestmark = needs_cuda

SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
}


class Padding:
    pad_token_id = 0


def rows() -> list[Row]:
    made = []
    for n, length in enumerate((700, 60, 250, 33, 410, 128, 90, 5)):
        ids = [3 + (7 * n + 5 * position) % 64 for position in range(length)]
        made.append(Row(ids, ids, line=n + 1))
    return made


def on_gpu(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to("cuda") for name, tensor in batch.items()}


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_packed_rows_do_not_leak_into_each_other(kind: str, tmp_path: Path) -> None:
    net = loading.load_unquantized(tiny_models.save(kind, tmp_path, **SIZES)).requires_grad_(False)
    log: list[str] = []
    assert _enable_packing(net, list(rows()), lambda _, level, message: log.append(message)), log
    with torch.no_grad(), precision.autocast("cuda"):
        apart, _ = token_losses(net, on_gpu(collate(rows(), 0)))
        packed, _ = token_losses(net, on_gpu(join(rows())))
    assert relative_error(packed, apart) < 0.01
    del net
    free()


def test_a_run_with_packed_rows_is_one_with_padded_rows(tmp_path: Path) -> None:
    tiny_models.save("llama", tmp_path / "model", **SIZES)
    told = {}
    for packing in (True, False):
        net, _ = loading.load_quantized(tmp_path / "model")
        with stage(f"rows {'packed' if packing else 'padded'}"):
            _, events = run(
                net, Padding(), rows(), tmp_path / str(packing), batch_size=8, micro_batch_tokens=1024,
                packing=packing, probe_largest=True, on_gpu=True,
            )  # fmt: skip
        told[packing] = [event["training_loss"] for event in events if event["type"] == "step"]
        _release_gpu_memory(net)
    assert told[True] == pytest.approx(told[False], rel=5e-3)
