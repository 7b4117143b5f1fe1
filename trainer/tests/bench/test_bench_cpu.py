"""The CPU bench's arithmetic; how fast this machine is, no test asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny

from tunebase_trainer.bench import cpu, mixed, rendering
from tunebase_trainer.bench.side import MIXED_MEAN, MIXED_ROWS, flops_per_token, mixed_lengths, mixed_rows
from tunebase_trainer.data.batches import collate
from tunebase_trainer.data.dataset import Row, read
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training.loss import supervised_loss


def test_a_result_is_ok_at_its_goal_and_higher_is_better_for_every_unit() -> None:
    def run(seconds: float, gib: float, losses: list[float]) -> dict[str, Any]:
        return {"tokens": 100.0, "seconds": [99.0, seconds], "peak_bytes": gib * 2**30, "losses": losses,
                "dtype": "fp32"}  # fmt: skip

    runs = {"ours": [run(1.0, 3.0, [2.0, 1.0])], "trl": [run(3.5, 5.0, [2.0, 1.02])]}
    speed, memory, loss, share = cpu.evaluate_runs(runs, matmul=1e6, flops=5e3, on="here")
    assert (speed.value, speed.ratio, speed.ok) == (100, 3.5, True), "the first step does not count"
    assert speed.against == "TRL's SFTTrainer, both in fp32: 28.57"
    assert (memory.value, memory.ratio, memory.ok) == (3, 1.667, True)
    assert (loss.value, loss.ok) == (1.961, True)
    assert (share.value, share.ratio, share.ok) == (0.0005, 0.5, True)
    runs["trl"] = [run(3.4, 4.9, [2.0, 1.1])]
    assert [measurement.ok for measurement in cpu.evaluate_runs(runs, matmul=2e6, flops=5e3, on="here")] == [False] * 4


def test_mixed_rows_have_a_longest_of_twenty_times_the_mean_and_are_the_same_each_time() -> None:
    lengths = mixed_lengths()
    assert len(lengths) == MIXED_ROWS and lengths == mixed_lengths()
    assert max(lengths) == 20 * MIXED_MEAN == pytest.approx(20 * sum(lengths) / len(lengths), rel=0.02)
    few = mixed_lengths(48)
    assert max(few) == 20 * MIXED_MEAN == pytest.approx(20 * sum(few) / len(few), rel=0.05)
    rows = mixed_rows([Row(list(range(500)), []), Row(list(range(500, 1000)), [])])
    assert [len(row.input_ids) for row in rows] == lengths
    assert all(row.labels[-1] == row.input_ids[-1] and len(row.labels) == len(row.input_ids) for row in rows)


def test_of_mixed_rows_the_second_epoch_counts() -> None:
    def run(seconds: float) -> dict[str, Any]:
        return {"tokens": 10.0, "seconds": [99.0, 99.0, seconds, seconds], "steps_per_epoch": 2, "dtype": "bf16"}

    (speed,) = mixed.evaluate_runs({"ours": [run(1.0), run(1.0)], "trl": [run(4.0), run(4.0)]}, on="here")
    assert (speed.name, speed.value, speed.ratio, speed.ok) == ("trainer_mixed", 10, 4, True)


def test_rendering_is_linear_if_a_turn_takes_the_same_time_in_a_long_conversation() -> None:
    linear = rendering.evaluate_times([0.3, 0.2], [1.6, 2.9], on="here")
    assert (linear.name, linear.value, linear.ratio, linear.ok) == ("rendering", 0.625, 1, True)
    assert not rendering.evaluate_times([0.2], [0.2 * 8 * 1.4], on="here").ok
    conversation = rendering.make_conversation(20)
    assert len(conversation.messages) == 20 and len(conversation.learned) == 10


def test_parallel_rendering_is_compared_with_one_process() -> None:
    parallel = rendering.evaluate_parallel(100, [10.0, 12.0], [8.0, 9.0], processes=2, on="here")
    assert (parallel.value, parallel.ratio, parallel.goal, parallel.ok) == (12.5, 1.25, 1.2, True)


def test_a_round_that_would_end_too_late_is_skipped() -> None:
    assert list(cpu.rounds_in_time(3, seconds=60)) == [0, 1, 2]
    assert list(cpu.rounds_in_time(3, seconds=-1)) == [0], "there is always one"


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
