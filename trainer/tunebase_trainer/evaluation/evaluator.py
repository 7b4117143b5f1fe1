"""Compares the base model (the same network with the adapter disabled) with the fine-tuned one."""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..contract import SCORES, Evaluation, Scores
from ..data.batches import padded_tokens
from ..data.dataset import Dataset, Example, Prompt
from ..text import counted
from .answers import AnsweredPrompt, answer_prompts
from .losses import LineExamples, LossComparison, compare_losses
from .scores import is_json, score

MAX_TRAINING_ROWS = 64
MAX_SAMPLES = 20
# The time budget: the time in which training processes this many tokens, within these limits in seconds.
BUDGET_TOKENS = 2**17
MIN_SECONDS_GPU, MAX_SECONDS_GPU, MAX_SECONDS_CPU = 20.0, 300.0, 10.0
# The share of it for the loss; answers get the rest.
LOSS_SHARE = 1 / 3
# The maximum share of the time left before the platform ends the run, because the files must still be uploaded.
SHARE_OF_TIME_LEFT = 1 / 4
# The maximum tokens per batch on a CPU, so that a single batch does not exceed the budget.
CPU_BATCH_TOKENS = 512


@dataclass(frozen=True)
class EvaluatedRows:
    source: Literal["validation", "training"]
    rows: dict[int, list[Example]]
    """The examples of each row by its line, in the order of evaluation, which is random because a file may be
    sorted."""


def choose_rows(data: Dataset, validation: Dataset | None, seed: int) -> EvaluatedRows:
    """All validation rows or, if there are none, up to `MAX_TRAINING_ROWS` training rows."""
    by_line: dict[int, list[Example]] = {}
    for example in (validation or data).rows:
        by_line.setdefault(example.line, []).append(example)
    lines = list(by_line)
    random.Random(seed).shuffle(lines)
    if validation is None:
        lines = lines[:MAX_TRAINING_ROWS]
    return EvaluatedRows("training" if validation is None else "validation", {line: by_line[line] for line in lines})


def time_budget(on_gpu: bool, steps: Sequence[dict[str, Any]], seconds_left: float) -> float:
    """In seconds, from the speed of training unless TUNEBASE_EVALUATION_SECONDS is set; 0: no evaluation."""
    if given := os.environ.get("TUNEBASE_EVALUATION_SECONDS"):
        seconds = float(given)
    else:
        speeds = [step["tokens_per_second"] for step in steps if step["tokens_per_second"]]
        seconds = BUDGET_TOKENS / statistics.median(speeds) if speeds else MIN_SECONDS_GPU
        seconds = min(max(seconds, MIN_SECONDS_GPU), MAX_SECONDS_GPU) if on_gpu else min(seconds, MAX_SECONDS_CPU)
    return max(0.0, min(seconds, seconds_left * SHARE_OF_TIME_LEFT))


def sample_limit() -> int:
    """The maximum number of answers in samples.json: TUNEBASE_SAMPLE_COUNT; 0: no answers are generated."""
    return int(os.environ.get("TUNEBASE_SAMPLE_COUNT") or MAX_SAMPLES)


@dataclass
class Evaluator:
    """Evaluates as many rows as fit into `seconds`, counted from its creation."""

    net: Any
    tokenizer: Any
    chosen: EvaluatedRows
    seconds: float
    stop_requested: Callable[[], bool]
    losses: LossComparison | None = None
    answers: list[AnsweredPrompt] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def measure_losses(self, micro_batch_tokens: int, pad: int) -> None:
        """Collective: every rank must call it."""
        rows: list[LineExamples] = list(self.chosen.rows.values())
        on_cpu = self.net.device.type == "cpu"
        tokens = min(micro_batch_tokens, CPU_BATCH_TOKENS) if on_cpu else micro_batch_tokens
        micro_batch_size = max(1, tokens // max(padded_tokens(example) for row in rows for example in row))
        deadline = self.started + self.seconds * LOSS_SHARE
        self.losses = compare_losses(self.net, rows, micro_batch_size, pad, deadline, self.stop_requested)

    def compare_answers(self, prompts: dict[int, Prompt], sample_count: int) -> None:
        """`prompts`: by line; those of other rows are ignored."""
        chosen = [prompts[line] for line in self.chosen.rows if line in prompts]
        deadline = self.started + self.seconds
        self.answers = answer_prompts(self.net, self.tokenizer, chosen, sample_count, deadline, self.stop_requested)

    def samples(self, sample_count: int) -> list[dict[str, Any]]:
        """The first answers, in file order."""
        return [
            {
                "line": row.prompt.line,
                "prompt": row.prompt.question,
                "expected": row.prompt.expected,
                "base": row.base.text,
                "base_finished": row.base.finished,
                "tuned": row.tuned.text,
                "tuned_finished": row.tuned.finished,
            }
            for row in sorted(self.answers[:sample_count], key=lambda row: row.prompt.line)
        ]

    def evaluation(self) -> Evaluation | None:
        """The scores, or None if there are none."""
        if self.losses is None or self.losses.rows == 0:
            return None
        compared = [row for row in self.answers if row.is_comparable]
        return Evaluation(
            rows_from=self.chosen.source,
            rows=len(self.chosen.rows),
            rows_evaluated=self.losses.rows,
            answers_evaluated=len(compared),
            json_answers_evaluated=sum(is_json(row.prompt.expected) for row in compared),
            base=self._scores(self.losses.base, [(row.prompt.expected, row.base.text) for row in compared]),
            tuned=self._scores(self.losses.tuned, [(row.prompt.expected, row.tuned.text) for row in compared]),
        )

    @staticmethod
    def _scores(losses: Any, pairs: list[tuple[str, str]]) -> Scores:
        answers = score(pairs)
        return Scores(
            loss=losses.loss if losses.loss is not None and math.isfinite(losses.loss) else None,
            preference_accuracy=losses.preference_accuracy,
            exact_match=answers.exact_match,
            valid_json=answers.valid_json,
            field_accuracy=answers.field_accuracy,
        )


def describe_scores(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """The measured scores of base and tuned model, by their labels."""
    scores = {}
    for name, label in SCORES.items():
        base, tuned = getattr(evaluation.base, name), getattr(evaluation.tuned, name)
        if base is not None or tuned is not None:
            scores[label] = (_format(name, base), _format(name, tuned))
    return scores


def describe_rows(evaluation: Evaluation) -> str:
    """How many rows were evaluated within the time budget."""
    rows, evaluated = evaluation.rows, evaluation.rows_evaluated
    text = f"{evaluated} of {counted(rows, f'{evaluation.rows_from} row')}"
    if evaluation.answers_evaluated:
        text += f", answers compared for {evaluation.answers_evaluated}"
    if evaluation.json_answers_evaluated:
        text += f" ({evaluation.json_answers_evaluated} of them JSON)"
    if evaluation.rows_from == "training":
        text += "; there are no validation rows"
    return text


def describe(evaluation: Evaluation) -> str:
    scores = (
        f"{label[0].lower()}{label[1:]} {base} → {tuned}"
        for label, (base, tuned) in describe_scores(evaluation).items()
    )
    return f"Evaluation, base → fine-tuned: {', '.join(scores)}. Evaluated: {describe_rows(evaluation)}."


def _format(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if name == "loss" else f"{100 * value:.1f}%"
