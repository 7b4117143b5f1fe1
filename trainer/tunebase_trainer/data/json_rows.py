"""Parses a row's JSON strictly: rejects what other parsers would read differently."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 100
Message = dict[str, Any]
SURROGATES = re.compile("[\ud800-\udfff]")


class RowProblem(ValueError):
    """Why a row cannot be trained on. `code` is one of the server's codes (`_shared/datasets/report.ts`)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def load(text: str) -> Any:
    """Parses a row. Raises RowProblem for anything that other parsers would read differently."""
    if "\0" in text:
        raise RowProblem("nul", "contains NUL bytes")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer)
        _check_depth(value, MAX_DEPTH)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise RowProblem("not_json", f"is not JSON ({error})") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise RowProblem("duplicate_key", f"has the key {format_value(duplicate)} twice in one object")
    return value


def _no_constant(name: str) -> Any:
    raise RowProblem("not_json", f"is not JSON ({name}): write null, or a number")


def _integer(text: str) -> float:
    return int(text) if len(text) < 400 else float(text)


def _too_deep() -> RowProblem:
    return RowProblem("too_deep", f"is nested more than {MAX_DEPTH} levels deep")


def _check_depth(value: Any, levels: int) -> None:
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise _too_deep()
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            _check_depth(item, levels - 1)


def check_surrogates(text: str, name: str) -> None:
    if SURROGATES.search(text):
        raise RowProblem("lone_surrogate", f"{name} contains a lone surrogate (half of a character)")


def format_value(value: Any) -> str:
    """Formats a value from the file for a message: short, without lone surrogates."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "…"
    return SURROGATES.sub("\ufffd", text if len(text) <= 60 else f"{text[:57]}…")


def decode_arguments(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
