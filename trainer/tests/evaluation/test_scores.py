"""The scores of answers, on cases computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunebase_trainer.evaluation.scores import AnswerScores, is_json, score


def test_exact_match_ignores_only_surrounding_blanks() -> None:
    assert score([("yes", " yes\n"), ("yes", "Yes"), ("no", "no."), ("a b", "a  b")]) == AnswerScores(0.25, None, None)


def test_without_answers_there_is_no_score() -> None:
    assert score([]) == AnswerScores(None, None, None)


def test_json_scores_count_the_rows_that_expect_json_and_their_top_level_fields() -> None:
    pairs = [
        ('{"team": "billing", "urgent": true, "tags": ["a"]}', '{"tags": ["a"], "team": "billing", "urgent": false}'),
        ('{"team": "sales"}', '{"team": "sales", "extra": 1}'),
        ('{"team": "sales", "n": 1}', "sales"),
        ('{"team": "sales", "n": 1}', '["sales"]'),
        ("[1, 2]", "[1]"),
        ("plain", "plain"),
    ]
    # JSON: four of the five rows that expect it. Fields: 2 of 3, 1 of 1, 0 of 2, 0 of 2; an array has none.
    assert score(pairs) == AnswerScores(exact_match=1 / 6, valid_json=4 / 5, field_accuracy=3 / 8)


CASES = json.loads((Path(__file__).parent / "score_cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['expected']} | {case['answer']}")
def test_one_answer_has_the_scores_that_the_scheduler_gives_it(case: dict[str, Any]) -> None:
    """tests/inference/score_test.ts checks the same cases for evaluations through the engine."""
    expected = case["fields_expected"]
    assert score([(case["expected"], case["answer"])]) == AnswerScores(
        exact_match=case["exact_match"],
        valid_json=case["valid_json"],
        field_accuracy=case["fields_correct"] / expected if expected else None,
    )


@pytest.mark.parametrize("text", ["", "hello", "42", "true", '"text"', "{", "{'a': 1}", '{"a": NaN}', "[" * 100_000])
def test_other_text_is_not_json(text: str) -> None:
    assert not is_json(text)
