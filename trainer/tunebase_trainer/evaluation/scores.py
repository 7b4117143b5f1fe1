"""Scores of generated answers: exact match, valid JSON, and correct fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NOT_JSON = object()


@dataclass(frozen=True)
class AnswerScores:
    exact_match: float | None
    valid_json: float | None
    field_accuracy: float | None


def is_json(text: str) -> bool:
    """Whether the text is a JSON object or array. A bare number or word counts as plain text."""
    return isinstance(_parse(text), dict | list)


def score(pairs: Sequence[tuple[str, str]]) -> AnswerScores:
    """Scores (expected, answer) pairs. Every field of the expected objects has the same weight, regardless of its
    row."""
    if not pairs:
        return AnswerScores(None, None, None)
    exact = sum(expected.strip() == answer.strip() for expected, answer in pairs)
    documents = [(_parse(expected), _parse(answer)) for expected, answer in pairs if is_json(expected)]
    valid = sum(answer is not NOT_JSON for _, answer in documents)
    fields = [
        isinstance(answer, dict) and name in answer and _equal(value, answer[name])
        for expected, answer in documents
        if isinstance(expected, dict)
        for name, value in expected.items()
    ]
    return AnswerScores(
        exact_match=exact / len(pairs),
        valid_json=valid / len(documents) if documents else None,
        field_accuracy=sum(fields) / len(fields) if fields else None,
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return NOT_JSON


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _equal(one: Any, other: Any) -> bool:
    """Compares JSON values: 1 equals 1.0, but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
