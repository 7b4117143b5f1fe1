"""The scores of answers, on cases computed by hand."""

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


@pytest.mark.parametrize(
    ("expected", "answer", "equal"),
    [
        ('{"a": 1}', '{"a": 1.0}', True),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": true}', '{"a": true}', True),
        ('{"a": {"b": [1, {"c": null}]}}', '{"a": {"b": [1.0, {"c": null}]}}', True),
        ('{"a": [1, 2]}', '{"a": [1]}', False),
        ('{"a": [0]}', '{"a": [false]}', False),
        ('{"a": null}', "{}", False),
        ('{"a": "1"}', '{"a": 1}', False),
    ],
)
def test_fields_are_compared_as_json_values(expected: str, answer: str, equal: bool) -> None:
    assert score([(expected, answer)]).field_accuracy == float(equal)


@pytest.mark.parametrize("text", ["", "hello", "42", "true", '"text"', "{", "{'a': 1}", '{"a": NaN}', "[" * 100_000])
def test_other_text_is_not_json(text: str) -> None:
    assert not is_json(text)
