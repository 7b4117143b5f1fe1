"""The benches' arithmetic; how fast this machine is, no test asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from tunebase_trainer.batches import collate
from tunebase_trainer.bench import cpu, figures
from tunebase_trainer.bench.side import flops_per_token
from tunebase_trainer.dataset import read
from tunebase_trainer.loss import loss_of
from tunebase_trainer.model import add_lora


def test_a_figure_is_ok_at_its_goal_and_more_is_better_whatever_its_unit() -> None:
    def run(seconds: float, gib: float, losses: list[float]) -> dict[str, Any]:
        return {"tokens": 100.0, "seconds": [99.0, seconds], "peak_bytes": gib * 2**30, "losses": losses}

    runs = {"ours": [run(1.0, 3.0, [2.0, 1.0])], "trl": [run(2.0, 4.0, [2.0, 1.02])]}
    speed, memory, loss, share = cpu.judge(runs, matmul=1e6, flops=5e3, machine="here")
    assert (speed.value, speed.ratio, speed.ok) == (100, 2, True), "the first step does not count"
    assert (memory.value, memory.ratio, memory.ok) == (3, 1.333, True)
    assert (loss.value, loss.ok) == (1.961, True)
    assert (share.value, share.ratio, share.ok) == (0.0005, 0.5, True)
    runs["trl"] = [run(1.9, 3.9, [2.0, 1.1])]
    assert [figure.ok for figure in cpu.judge(runs, matmul=2e6, flops=5e3, machine="here")] == [False] * 4


def test_kept_figures_take_the_place_of_the_benchs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "KEPT", tmp_path / "bench.json")
    one = figures.figure("a", 1, "s", "2 s", 2.0, 1.0, "here")
    other = figures.figure("b", 1, "s", "2 s", 2.0, 1.0, "here")
    for name, found in (("a", [one, one]), ("b", [other]), ("a", [one])):
        figures.keep(name, found)
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in kept] == ["b", "a"]
    fields = Path(__file__).parents[2] / "bench" / "figures.ts"
    assert all(f"  {name}: " in fields.read_text() for name in kept[0]), "as the other benches' rows"
    assert set(kept[0]) == {"name", "value", "unit", "against", "ratio", "goal", "ok", "machine"}


def test_the_operations_of_a_token_are_what_torch_counts(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
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
            loss_of(net, collate([row], 0), None).backward()  # type: ignore[no-untyped-call]
        counted.append(counter.get_total_flops())
    tokens = sum(len(row.input_ids) for row in rows)
    # Eager attention computes both halves, and the first layer's input needs no gradient.
    assert flops_per_token(net, rows) == pytest.approx(sum(counted) / tokens, rel=0.1)
