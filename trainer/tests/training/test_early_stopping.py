"""Validation: rows held out, the best adapter handed over, an early end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.short_run import run

from tunebase_trainer.data.batches import collate
from tunebase_trainer.data.dataset import IGNORED, Dataset, Example, Row, read
from tunebase_trainer.data.split import held_out, split
from tunebase_trainer.training.loss import supervised_loss
from tunebase_trainer.training.schedule import describe_run, make_schedule


def load(path: Path) -> Any:
    """The tiny model, with logits large enough to be sure of something."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(6)
    return model


@pytest.fixture(scope="module")
def rows(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(tiny.rows(12))
    return read(path, tiny_tokenizer, 512).rows


def test_a_split_holds_out_its_share_from_all_lengths_and_depends_on_the_seed() -> None:
    draw = random.Random(0)
    for count, share in ((50, 0.1), (252, 0.1), (999, 0.1), (1000, 0.05), (7, 0.5), (3, 0.01)):
        rows: list[Example] = [Row([n] * draw.randrange(1, 2000), [], line=n) for n in range(count)]
        data = Dataset(rows, conversations=count, truncated=3)
        train, held = split(data, share, seed=1)
        assert held is not None
        assert len(held.rows) == held.conversations == held_out(count, share)
        assert len(train.rows) == train.conversations == count - held.conversations >= 1
        assert sorted(train.rows + held.rows, key=lambda row: row.line) == rows
        assert (train.truncated, held.truncated) == (3, 0)
        assert split(data, share, seed=1) == (train, held)
        longest = max(row.length for row in rows)
        off = held.tokens - data.tokens * len(held.rows) / count
        assert abs(off) <= 2 * longest, "which estimates rely on"
    assert split(data, 0.0, seed=1) == (data, None)
    assert split(Dataset(rows[:1], conversations=1), 0.5, seed=1)[1] is None
    many = Dataset([Row([n], [], line=n) for n in range(500)], conversations=500)
    assert split(many, 0.1, seed=1)[1] != split(many, 0.1, seed=2)[1]
    assert held_out(252, 0.1) == 25


def test_examples_of_one_conversation_stay_on_one_side() -> None:
    rows: list[Example] = [Row([line] * turn, [], line=line) for line in range(1, 41) for turn in (1, 2, 3)]
    train, held = split(Dataset(rows, conversations=40), 0.1, seed=3)
    assert held is not None and held.conversations == 4 and len(held.rows) == 12
    assert not {row.line for row in train.rows} & {row.line for row in held.rows}


def test_the_validation_loss_is_the_mean_over_tokens_whatever_the_batch(
    tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    seen: list[float] = []
    for micro in (1, 4):
        fresh = load(tiny_model)
        _, told = run(
            fresh, tiny_tokenizer, rows[:4], tmp_path / str(micro), validation=rows[4:], micro=micro, num_epochs=1
        )
        seen.append(told[-1]["validation_loss"])
        net = fresh.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            expected = supervised_loss(net, collate(rows[4:], tiny_tokenizer.pad_token_id), None)
        assert seen[-1] == pytest.approx(float(expected), rel=1e-3)
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)


PROMPT = list(range(40))
YES, NO = (Row([*PROMPT, token], [IGNORED] * 40 + [token]) for token in (100, 101))
# What is trained on says YES; of what is validated with, one in three says NO: the validation loss falls as YES is
# learned, and rises when YES is all that is left.
OVERFIT: dict[str, Any] = {
    "validation": [YES, YES, NO],
    "learning_rate": 1e-2,
    "batch_size": 1,
    "micro": 1,
    "num_epochs": 12,
}


def test_the_final_adapter_is_that_of_the_lowest_validation_loss(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    nets: list[Any] = []
    outcome, told = run(load(tiny_model), tiny_tokenizer, [YES], tmp_path, prepare=nets.append, **OVERFIT)
    losses = {event["step"]: event["validation_loss"] for event in told if event["type"] == "step"}
    best = min(losses, key=lambda step: losses[step])
    assert 1 <= best < 12, f"a run that overfits: {losses}"
    assert (outcome.best_step, outcome.best_validation_loss) == (best, losses[best])
    net = nets[0].eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        loss = float(supervised_loss(net, collate([YES, YES, NO], tiny_tokenizer.pad_token_id), None))
    assert loss == pytest.approx(losses[best], rel=1e-3) and loss < losses[12] - 0.01
    assert told[-1]["message"].startswith(f"The adapter is from step {best}, which has the lowest validation loss")


def test_a_training_that_stops_improving_ends_early_if_patience_is_set(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    ends: dict[int, Any] = {}
    for patience in (0, 2):
        model = load(tiny_model)
        settings = OVERFIT | {"early_stopping_patience": patience}
        ends[patience] = run(model, tiny_tokenizer, [YES], tmp_path / str(patience), **settings)
    assert ends[0][0].steps == 12
    outcome, told = ends[2]
    losses = [event["validation_loss"] for event in told if event["type"] == "step"]
    stale, best = 0, losses[0]
    for step, loss in enumerate(losses[1:], 2):
        stale, best = (0, loss) if loss < best else (stale + 1, best)
        assert (stale == 2) == (step == outcome.steps)
    assert outcome.steps < 12
    said = [event["message"] for event in told if event["type"] == "log"]
    assert said[0].startswith(f"Training stops early, after step {outcome.steps}: ")
    assert "for 2 validations" in said[0]


def test_a_resumed_run_keeps_the_best_adapter_and_the_patience_counter(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    from tunebase_trainer.training.checkpoint_state import load_state

    weights: list[dict[str, Any]] = []
    outcomes, told = [], []
    resume = None
    for name in ("whole", "resumed"):
        model = load(tiny_model)
        nets: list[Any] = []
        settings = OVERFIT | {"early_stopping_patience": 3}
        outcome, said = run(
            model,
            tiny_tokenizer,
            [YES],
            tmp_path / name,
            prepare=nets.append,
            every=0.0,
            resume=resume,
            **settings,
        )
        outcomes.append(outcome)
        told.append([event for event in said if event["type"] == "step"])
        weights.append({key: value.clone() for key, value in nets[0].state_dict().items() if "lora" in key})
        # After the best, and before the end.
        assert outcome.best_step is not None and outcome.best_step + 3 == outcome.steps
        place = tmp_path / "whole" / f"checkpoint-{outcome.best_step + 1}"
        resume = place, load_state(place, {})
    assert outcomes[0] == outcomes[1]
    losses = [[event["validation_loss"] for event in events] for events in told]
    assert losses[1] == losses[0][-2:]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_validates_every_eval_steps_and_after_its_last_step(
    tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    # 3 epochs of 3 steps: validations fall within epochs, at an epoch's end, and where neither is.
    settings: dict[str, Any] = {"batch_size": 4, "num_epochs": 3}
    for every, expected in ((2, [2, 4, 6, 8, 9]), (3, [3, 6, 9]), (100, [9])):
        _, events = run(load(tiny_model), tiny_tokenizer, rows, tmp_path / str(every), eval_steps=every, **settings)
        steps = [event for event in events if event["type"] == "step"]
        assert [step["step"] for step in steps] == list(range(1, 10))
        assert [step["step"] for step in steps if step["validation_loss"] is not None] == expected


def test_one_epoch_is_enough_to_stop_early(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    settings = OVERFIT | {"num_epochs": 1, "early_stopping_patience": 2, "eval_steps": 2}
    outcome, events = run(load(tiny_model), tiny_tokenizer, [YES] * 24, tmp_path, **settings)
    losses = {event["step"]: event["validation_loss"] for event in events if event["type"] == "step"}
    validated = [step for step, loss in losses.items() if loss is not None]
    assert validated == list(range(2, outcome.steps + 1, 2))
    assert outcome.best_step is not None
    assert outcome.steps == outcome.best_step + 4 < 24, "two validations after the best one"


def test_auto_validates_about_ten_times_and_at_least_once_per_epoch() -> None:
    def dataset(count: int) -> Dataset:
        return Dataset([Row([0] * 100, [], line=n) for n in range(count)], conversations=count)

    hyper = {"batch_size": 2, "num_epochs": 3, "warmup_steps": 0, "eval_steps": None}
    assert make_schedule(hyper, dataset(90), dataset(10)).eval_steps == 14, "135 steps"
    assert make_schedule(hyper, dataset(90), dataset(90)).eval_steps == 45, "validation rows cost too much for more"
    assert make_schedule(hyper, dataset(4), dataset(1)).eval_steps == 1
    assert make_schedule(hyper, dataset(90), None).eval_steps is None
    given = make_schedule(hyper | {"eval_steps": 7}, dataset(90), dataset(90))
    assert given.eval_steps == 7
    assert "; validation every 7 steps; " in describe_run(hyper | RATE, dataset(90), given, 1)


RATE: dict[str, Any] = {"learning_rate": 1e-4, "lr_schedule": "linear"}
