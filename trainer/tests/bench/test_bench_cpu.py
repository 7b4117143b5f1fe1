"""The CPU bench's arithmetic; how fast this machine is, no test asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny

from tunebase_trainer.bench import cpu
from tunebase_trainer.bench.side import flops_per_token
from tunebase_trainer.data.batches import collate
from tunebase_trainer.data.dataset import read
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training.loss import supervised_loss


def test_a_result_is_ok_at_its_goal_and_higher_is_better_for_every_unit() -> None:
    def run(seconds: float, gib: float, losses: list[float]) -> dict[str, Any]:
        return {"tokens": 100.0, "seconds": [99.0, seconds], "peak_bytes": gib * 2**30, "losses": losses}

    runs = {"ours": [run(1.0, 3.0, [2.0, 1.0])], "trl": [run(2.0, 4.0, [2.0, 1.02])]}
    speed, memory, loss, share = cpu.evaluate_runs(runs, matmul=1e6, flops=5e3, on="here")
    assert (speed.value, speed.ratio, speed.ok) == (100, 2, True), "the first step does not count"
    assert (memory.value, memory.ratio, memory.ok) == (3, 1.333, True)
    assert (loss.value, loss.ok) == (1.961, True)
    assert (share.value, share.ratio, share.ok) == (0.0005, 0.5, True)
    runs["trl"] = [run(1.9, 3.9, [2.0, 1.1])]
    assert [measurement.ok for measurement in cpu.evaluate_runs(runs, matmul=2e6, flops=5e3, on="here")] == [False] * 4


def test_the_operations_per_token_match_torchs_count(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    (tmp_path / "rows.jsonl").write_text(tiny.rows(4))
    rows = read(tmp_path / "rows.jsonl", tiny_tokenizer, 512).rows
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation="eager")
    net, _ = add_lora(model, rank=4, alpha=8, dropout=0.0)
    counted = []
    # One by one, so that no padding is computed.
    for row in rows:
        with FlopCounterMode(display=False) as counter:
            supervised_loss(net, collate([row], 0), None).backward()  # type: ignore[no-untyped-call]
        counted.append(counter.get_total_flops())
    tokens = sum(row.tokens for row in rows)
    # Eager attention computes both halves, and the first layer's input needs no gradient.
    assert flops_per_token(net, rows) == pytest.approx(sum(counted) / tokens, rel=0.1)
