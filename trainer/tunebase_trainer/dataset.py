"""Reads training rows and turns them into tokens of which only the assistant's are learned.

Formats, one JSON object a line: `{"messages": [{"role", "content"}, …]}` (`"weight": 0` on an assistant message masks
it) and `{"prompt": …, "completion": …}`. Errors name the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from .errors import TrainerError

IGNORED = -100  # the label of a token that is not learned, as torch's cross entropy has it
MOST_PROBLEMS = 20
FORMATS = '{"messages": [{"role": …, "content": …}, …]} or {"prompt": …, "completion": …}'


@dataclass(frozen=True)
class Row:
    """Token ids and their labels, of one length; a label is the token's id or IGNORED."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Dataset:
    rows: list[Row]
    """Rows that can be learned from, at most max_length tokens each."""
    shortened: int
    """Rows that lost history or the start of their prompt to fit."""
    dropped: int
    """Rows that had nothing to learn from."""

    @property
    def tokens(self) -> int:
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def learned_tokens(self) -> int:
        return sum(label != IGNORED for row in self.rows for label in row.labels)


Message = dict[str, Any]


def read(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Reads a file. Raises TrainerError `invalid_dataset` (with up to 20 lines) or `no_trainable_rows`."""
    problems: list[str] = []
    rows: list[Row] = []
    shortened = dropped = 0
    for number, text in _lines(path):
        try:
            row, cut = tokenise(parse(text), tokenizer, max_length)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        if all(label == IGNORED for label in row.labels):
            dropped += 1
            continue
        rows.append(row)
        shortened += cut
    if problems:
        raise TrainerError(
            "invalid_dataset",
            f"The training data cannot be read: {'; '.join(problems)}",
            f"Each line must be a JSON object: {FORMATS}",
        )
    if not rows:
        raise TrainerError(
            "no_trainable_rows",
            f"The training data has no row to learn from ({dropped} rows have no assistant text).",
            f"Each row needs an assistant message: {FORMATS}",
        )
    return Dataset(rows, shortened, dropped)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise TrainerError(
                    "invalid_dataset", f"The training data is not UTF-8 at line {number}.", "Save it as UTF-8."
                ) from error
            if text.strip():
                yield number, text


def parse(text: str) -> list[Message]:
    """The messages of one line, contents as plain text. Raises ValueError with the reason."""
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    if "messages" in row:
        messages = row["messages"]
    elif "prompt" in row and "completion" in row:
        messages = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    else:
        raise ValueError(f"has no known format, which are {FORMATS}")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list that is not empty")
    return [_message(message, index) for index, message in enumerate(messages)]


def _message(message: Any, index: int) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
        raise ValueError(f"messages[{index}] must have a role: system, user or assistant")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"messages[{index}].content must be text that is not empty")
    return {"role": message["role"], "content": content, "learn": message.get("weight", 1) != 0}


def tokenise(messages: list[Message], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Row, bool]:
    """Tokens and labels of one conversation, and whether it had to be shortened to `max_length`.

    The oldest turns go first, the system message and the last answer stay.
    """
    row = _render(messages, tokenizer)
    if len(row.input_ids) <= max_length:
        return row, False
    system = messages[:1] if messages[0]["role"] == "system" else []
    turns = messages[len(system) :]
    while len(row.input_ids) > max_length:
        starts = [i for i, message in enumerate(turns) if i > 0 and message["role"] == "user"]
        if not starts:
            return _cut(row, max_length), True
        turns = turns[starts[0] :]
        row = _render(system + turns, tokenizer)
    return row, True


def _cut(row: Row, max_length: int) -> Row:
    """Keeps the answer: the prompt loses its start; only an answer that is too long itself loses its end."""
    first = next((i for i, label in enumerate(row.labels) if label != IGNORED), 0)
    start = min(max(0, len(row.input_ids) - max_length), max(0, first - max_length // 4))
    part = slice(start, start + max_length)
    return Row(row.input_ids[part], row.labels[part])


def _render(messages: list[Message], tokenizer: PreTrainedTokenizerBase) -> Row:
    """Renders the chat template and marks the characters that an assistant wrote, with their end-of-turn token."""
    if tokenizer.chat_template is None:
        raise TrainerError(
            "no_chat_template",
            "The base model has no chat template: it is not an instruct model.",
            "Choose an instruct model, or ask the operator of this service to add a template.",
        )
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]

    def text_of(count: int, prompt: bool) -> str:
        return str(tokenizer.apply_chat_template(plain[:count], tokenize=False, add_generation_prompt=prompt))

    text = text_of(len(plain), False)
    learned: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message["learn"]:
            before, after = text_of(index, True), text_of(index + 1, False).rstrip("\n")
            # What is learned must stand in the conversation as it will at inference, right after the prompt.
            if not (text.startswith(before) and text.startswith(after)):
                raise ValueError(f"the model's chat template changes the turns before messages[{index}]")
            learned.append((len(before), len(after)))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    input_ids: list[int] = encoded["input_ids"]
    labels = [
        token if any(start <= begin and begin < end for start, end in learned) else IGNORED
        for token, (begin, _) in zip(input_ids, encoded["offset_mapping"], strict=True)
    ]
    return Row(input_ids, labels)
