"""The evaluation at the end of a fine-tune: its figures, its time budget, and what is evaluated."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.short_run import run

from tunebase_trainer.data.dataset import Dataset, Prompt, Row, read, read_prompts
from tunebase_trainer.evaluation import answers, at_end, evaluator, losses
from tunebase_trainer.evaluation.answers import Answer, AnsweredPrompt
from tunebase_trainer.evaluation.evaluator import EvaluatedRows, Evaluator, choose_rows, time_budget
from tunebase_trainer.evaluation.losses import LossComparison, LossScores
from tunebase_trainer.model.lora import add_lora


def load(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def written(directory: Path, text: str) -> Path:
    path = directory / "rows.jsonl"
    path.write_text(text)
    return path


def by_line(data: Dataset) -> EvaluatedRows:
    return choose_rows(data, None, seed=1)


@pytest.mark.usefixtures("bf16")
def test_training_lowers_the_tuned_loss_and_the_base_loss_is_that_of_the_model_before(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    data = read(written(tmp_path, tiny.rows(8)), tiny_tokenizer, 512)
    nets: list[Any] = []
    before: list[LossComparison] = []

    def measured() -> LossComparison:
        ours = Evaluator(nets[0], tiny_tokenizer, by_line(data), 600, lambda: False)
        ours.measure_losses(micro_batch_tokens=3 * 512, pad=0)
        assert ours.losses is not None
        return ours.losses

    def prepare(net: Any) -> None:
        nets.append(net)
        before.append(measured())

    run(load(tiny_model), tiny_tokenizer, data.rows, tmp_path / "run", num_epochs=8, prepare=prepare)
    after = measured()
    assert before[0].rows == after.rows == 8
    assert before[0].tuned.loss == before[0].base.loss, "a fresh adapter changes nothing"
    assert after.base.loss is not None and after.tuned.loss is not None
    assert after.base.loss == pytest.approx(before[0].base.loss, rel=1e-3)
    assert after.tuned.loss < after.base.loss - 0.1
    assert after.tuned.preference_accuracy is None


def test_preference_rows_score_how_often_the_preferred_answer_is_likelier(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    data = read(written(tmp_path, tiny.pairs(8)), tiny_tokenizer, 512, method="dpo")
    nets: list[Any] = []
    run(
        load(tiny_model), tiny_tokenizer, data.rows, tmp_path / "run",
        num_epochs=10, method="dpo", beta=0.3, prepare=nets.append,
    )  # fmt: skip
    ours = Evaluator(nets[0], tiny_tokenizer, by_line(data), 600, lambda: False)
    ours.measure_losses(micro_batch_tokens=3 * 512, pad=0)
    found = ours.evaluation()
    assert found is not None and ours.losses is not None
    with nets[0].disable_adapter():
        assert found.base.preference_accuracy == likelier_share(nets[0], data)
    assert found.tuned.preference_accuracy == likelier_share(nets[0], data)
    assert found.tuned.preference_accuracy >= found.base.preference_accuracy
    assert found.base.loss is not None and found.tuned.exact_match is None


@torch.no_grad()
def likelier_share(net: Any, data: Dataset) -> float:
    """By the definition, answer by answer."""
    likelier = 0
    for pair in data.rows:
        sums = []
        for row in pair.sequences:
            with torch.autocast("cpu", torch.bfloat16):
                logs = net(input_ids=torch.tensor([row.input_ids])).logits[0].float().log_softmax(-1)
            learned = [i for i in range(1, row.length) if row.labels[i] >= 0]
            sums.append(sum(float(logs[i - 1, row.labels[i]]) for i in learned))
        likelier += sums[0] > sums[1]
    return likelier / len(data.rows)


def test_answers_and_losses_become_figures_computed_by_hand(tiny_tokenizer: Any) -> None:
    chosen = EvaluatedRows("validation", {line: [Row([1, 2], [-100, 2], line)] for line in range(1, 7)})
    ours = Evaluator(None, tiny_tokenizer, chosen, 1, lambda: False)
    ours.losses = LossComparison(5, LossScores(2.0, None), LossScores(1.5, None))

    def answered(line: int, expected: str, base: str, tuned: str, **more: bool) -> AnsweredPrompt:
        prompt = Prompt(line, "q", "q", expected, more.get("comparable", True))
        return AnsweredPrompt(prompt, Answer(base, True, False), Answer(tuned, True, more.get("interrupted", False)))

    ours.answers = [
        answered(4, '{"a": 1, "b": 2}', "no", '{"a": 1, "b": 3}'),
        answered(2, "yes", "yes", "yes"),
        answered(1, "no", "yes", "no"),
        answered(3, "no", "no", "n", interrupted=True),
        answered(5, "call", "call", "call", comparable=False),
    ]
    found = ours.evaluation()
    assert found is not None
    assert found.model_dump() == {
        "rows_from": "validation", "rows": 6, "rows_evaluated": 5, "answers_evaluated": 3, "json_answers_evaluated": 1,
        "base": {"loss": 2.0, "exact_match": 1 / 3, "valid_json": 0.0, "field_accuracy": 0.0,
                 "preference_accuracy": None},
        "tuned": {"loss": 1.5, "exact_match": 2 / 3, "valid_json": 1.0, "field_accuracy": 0.5,
                  "preference_accuracy": None},
    }  # fmt: skip
    assert evaluator.describe(found) == (
        "Evaluation, base → fine-tuned: loss per token 2.000 → 1.500, exact match 33.3% → 66.7%, "
        "valid JSON 0.0% → 100.0%, correct JSON fields 0.0% → 50.0%. "
        "Evaluated: 5 of 6 validation rows, answers compared for 3 (1 of them JSON)."
    )
    assert [sample["line"] for sample in ours.samples(3)] == [1, 2, 4]


def test_a_loss_that_is_not_finite_is_left_out(tiny_tokenizer: Any) -> None:
    ours = Evaluator(None, tiny_tokenizer, EvaluatedRows("training", {1: [Row([1], [1], 1)]}), 1, lambda: False)
    ours.losses = LossComparison(1, LossScores(2.0, None), LossScores(math.inf, None))
    found = ours.evaluation()
    assert found is not None and found.tuned.loss is None
    assert "loss per token 2.000 → –" in evaluator.describe(found)
    assert "1 of 1 training row; there are no validation rows" in evaluator.describe(found)


def test_the_budget_follows_the_training_speed_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEBASE_EVALUATION_SECONDS", raising=False)

    def steps(speed: float | None) -> list[dict[str, Any]]:
        return [{"tokens_per_second": None}, {"tokens_per_second": speed}]

    budgets = [time_budget(True, steps(speed), math.inf) for speed in (1e6, 2**12, 10.0, None)]
    assert budgets == [20, 32, 300, 20]
    assert time_budget(False, steps(60.0), math.inf) == 10
    assert time_budget(True, steps(2**12), 40) == 10, "a quarter of what is left before the platform ends the run"
    monkeypatch.setenv("TUNEBASE_EVALUATION_SECONDS", "0")
    assert time_budget(True, steps(2**12), math.inf) == 0


def test_rows_beyond_the_budget_are_counted_and_not_measured(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny.rows(40))
    data = read(path, tiny_tokenizer, 512)
    net, _ = add_lora(load(tiny_model), rank=4, alpha=8, dropout=0.0)
    clock = iter(range(1000))
    monkeypatch.setattr("tunebase_trainer.evaluation.losses.time.monotonic", lambda: float(next(clock)))
    found = losses.compare_losses(net, [[row] for row in data.rows], 2, 0, 3.5, lambda: False)
    assert found.rows == 10, "before each of four more chunks of two the clock is at 0, 1, 2 and 3"
    assert losses.compare_losses(net, [[row] for row in data.rows], 2, 0, -1, lambda: False).rows == 2
    assert losses.compare_losses(net, [[row] for row in data.rows], 2, 0, math.inf, lambda: True).rows == 0
    monkeypatch.undo()

    prompts = list(read_prompts(path, tiny_tokenizer, range(1, 41)).values())
    late = answers.answer_prompts(net, tiny_tokenizer, prompts, 20, time.monotonic() - 1, lambda: False)
    assert len(late) == answers.MAX_BATCH_CPU, "the first batch, interrupted"
    assert not any(row.is_comparable for row in late)


def test_answers_stay_within_the_time_budget(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny.rows(40))
    net, _ = add_lora(load(tiny_model), rank=4, alpha=8, dropout=0.0)
    prompts = list(read_prompts(path, tiny_tokenizer, range(1, 41)).values())
    clock = iter(range(100_000))
    # The clock is read before each batch and after each token.
    monkeypatch.setattr("tunebase_trainer.evaluation.answers.time.monotonic", lambda: float(next(clock)))
    found = answers.answer_prompts(net, tiny_tokenizer, prompts, 20, 300, lambda: False)
    monkeypatch.undo()
    assert 0 < len(found) < 40
    assert all(row.is_comparable for row in found), "an interrupted batch is left out"


def test_answers_do_not_depend_on_their_batch_and_long_prompts_are_left_out(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    net, _ = add_lora(load(tiny_model), rank=4, alpha=8, dropout=0.0)
    prompts = [Prompt(n, f"{n}", f"question {n} " * n, "x") for n in (1, 2)]
    too_long = Prompt(3, "long", "x" * (answers.MAX_PROMPT_TOKENS + 1), "x")
    whole = answers.answer_prompts(net, tiny_tokenizer, [too_long, *prompts], 20, math.inf, lambda: False)
    assert [row.prompt.line for row in whole] == [1, 2]
    # A fresh adapter changes nothing: both sides are equal, in spite of the padding of the shorter prompt.
    assert all(row.base == row.tuned for row in whole)
    alone = [answers.answer_prompts(net, tiny_tokenizer, [one], 20, math.inf, lambda: False)[0] for one in prompts]
    assert [row.base for row in alone] == [row.base for row in whole]
    stopped = answers.answer_prompts(net, tiny_tokenizer, prompts, 20, math.inf, lambda: True)
    assert all(row.tuned.interrupted and len(row.tuned.text) <= 1 for row in stopped), "one token each"


def test_after_the_samples_only_comparable_prompts_are_answered(tiny_model: Path, tiny_tokenizer: Any) -> None:
    net, _ = add_lora(load(tiny_model), rank=4, alpha=8, dropout=0.0)
    prompts = [Prompt(n, "q", f"question {n}", "x", is_comparable=n % 2 == 0) for n in range(1, 7)]
    prompts.append(Prompt(7, "q", "question 7", "x" * answers.MAX_NEW_TOKENS))
    found = answers.answer_prompts(net, tiny_tokenizer, prompts, 2, math.inf, lambda: False)
    assert [row.prompt.line for row in found] == [1, 2, 4, 6]
    assert [row.is_comparable for row in found] == [False, True, True, True]


def test_without_validation_rows_up_to_64_training_rows_are_chosen() -> None:
    rows = [Row([1] * 5, [1] * 5, line) for line in range(1, 101) for _ in range(2)]
    data = Dataset(rows=list(rows), conversations=100)
    chosen = choose_rows(data, None, seed=1)
    assert (chosen.source, len(chosen.rows)) == ("training", 64)
    assert all(len(examples) == 2 for examples in chosen.rows.values())
    assert chosen == choose_rows(data, None, seed=1) != choose_rows(data, None, seed=2)
    held = choose_rows(data, Dataset(rows=[Row([1], [1], line) for line in range(1, 101)], conversations=100), 1)
    assert (held.source, len(held.rows)) == ("validation", 100)


def test_tool_calls_and_preferred_answers_are_shown_but_not_compared(tiny_tokenizer: Any, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    path = written(tmp_path, json.dumps({"messages": messages}) + "\n" + tiny.rows(1))
    found = read_prompts(path, tiny_tokenizer, [1, 2, 3])
    assert [(prompt.line, prompt.is_comparable) for prompt in found.values()] == [(1, False), (2, True)]
    path.write_text(tiny.pairs(1))
    assert [prompt.is_comparable for prompt in read_prompts(path, tiny_tokenizer, [1]).values()] == [False]


class Broken:
    """A network that fails."""

    device = torch.device("cpu")

    def eval(self) -> None:
        raise RuntimeError("secret")


def test_an_operator_can_disable_the_evaluation_and_a_failure_is_a_warning(
    tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, tiny.rows(3))
    data = read(path, tiny_tokenizer, 512)
    told: list[tuple[str, ...]] = []

    def emit_log(*line: str) -> None:
        told.append(line)

    def measured() -> Evaluator | None:
        return at_end.measure_losses(
            Broken(), tiny_tokenizer, data, None,
            seed=1, micro_batch_tokens=512, steps=[], seconds_left=math.inf, stop_requested=lambda: False,
            emit_log=emit_log,
        )  # fmt: skip

    assert measured() is None
    assert told.pop() == ("The evaluation failed (RuntimeError).", "warn")
    monkeypatch.setenv("TUNEBASE_EVALUATION_SECONDS", "0")
    assert measured() is None
    assert at_end.compare_answers(None, path, False, emit_log) == (None, None)
    assert not told

    ours = Evaluator(Broken(), tiny_tokenizer, by_line(data), 1, lambda: False)
    ours.losses = LossComparison(3, LossScores(2.0, None), LossScores(1.0, None))
    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "5")
    figures, samples = at_end.compare_answers(ours, path, False, emit_log)
    assert figures is not None and figures.tuned.loss == 1.0, "the losses are there"
    assert samples is None
    assert told[0] == ("The answers could not be generated (RuntimeError).", "warn")
    assert told[1][0].startswith("Evaluation, base → fine-tuned: loss per token 2.000 → 1.000. ")
