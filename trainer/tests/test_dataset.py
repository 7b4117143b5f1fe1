"""What is learned of a row, and what is said of a row that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunebase_trainer.dataset import IGNORED, Row, parse, read, tokenise
from tunebase_trainer.errors import TrainerError


def learned(row: Row, tokenizer: Any) -> str:
    assert len(row.input_ids) == len(row.labels)
    assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    return str(tokenizer.decode([label for label in row.labels if label != IGNORED]))


def chat(*turns: tuple[str, str], **extra: Any) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns], **extra})


def test_only_the_answer_and_its_end_are_learned(tokenizer: Any) -> None:
    row, cut = tokenise(
        parse(chat(("system", "Be brief."), ("user", "hi"), ("assistant", "hello there"))), tokenizer, 512
    )
    assert learned(row, tokenizer) == "hello there<|im_end|>"
    assert not cut


def test_every_answer_of_a_conversation_is_learned_but_those_of_weight_0(tokenizer: Any) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "first", "weight": 0},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "third"},
    ]
    row, _ = tokenise(parse(json.dumps({"messages": messages})), tokenizer, 512)
    assert learned(row, tokenizer) == "second<|im_end|>third<|im_end|>"


def test_prompt_and_completion_and_content_in_parts_are_read(tokenizer: Any) -> None:
    row, _ = tokenise(parse('{"prompt": "x", "completion": "y"}'), tokenizer, 512)
    assert learned(row, tokenizer) == "y<|im_end|>"
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert parse(json.dumps({"messages": [{"role": "assistant", "content": parts}]}))[0]["content"] == "one two"


def test_a_long_conversation_loses_its_oldest_turns_and_keeps_system_and_answer(tokenizer: Any) -> None:
    turns = [
        ("system", "Rules."),
        *[t for i in range(30) for t in (("user", f"question {i}"), ("assistant", f"answer {i}"))],
    ]
    row, cut = tokenise(parse(chat(*turns)), tokenizer, 64)
    text = tokenizer.decode(row.input_ids)
    assert cut
    assert len(row.input_ids) <= 64
    assert "Rules." in text
    assert "question 0" not in text
    assert learned(row, tokenizer).endswith("answer 29<|im_end|>")


def test_a_long_prompt_loses_its_start_and_the_answer_stays_whole(tokenizer: Any) -> None:
    row, cut = tokenise(parse(chat(("user", "word " * 500), ("assistant", "the answer"))), tokenizer, 100)
    assert cut
    assert len(row.input_ids) == 100
    assert learned(row, tokenizer) == "the answer<|im_end|>"


def test_an_answer_that_is_too_long_itself_keeps_its_start(tokenizer: Any) -> None:
    row, _ = tokenise(parse(chat(("user", "hi"), ("assistant", "begin " + "word " * 500))), tokenizer, 100)
    assert len(row.input_ids) == 100
    assert learned(row, tokenizer).startswith("begin")


def test_a_byte_order_mark_and_blank_lines_are_no_problem(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + chat(("user", "a"), ("assistant", "b")).encode() + b"\n\n  \n")
    assert len(read(path, tokenizer, 512).rows) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: is not JSON"),
        ("[]", "line 2: is not a JSON object"),
        ('{"text": "x"}', "line 2: has no known format, which are"),
        ('{"messages": []}', "line 2: messages must be a list that is not empty"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "line 2: messages[0] must have a role"),
        ('{"messages": [{"role": "user", "content": ""}]}', "line 2: messages[0].content must be text"),
    ],
)
def test_a_broken_line_is_named_with_the_reason(tokenizer: Any, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(chat(("user", "a"), ("assistant", "b")) + "\n" + line + "\n")
    with pytest.raises(TrainerError) as caught:
        read(path, tokenizer, 512)
    assert caught.value.code == "invalid_dataset"
    assert said in caught.value.message


def test_rows_with_nothing_to_learn_are_counted_and_a_file_of_them_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    nothing = chat(("user", "only a question"))
    path.write_text(nothing + "\n" + chat(("user", "a"), ("assistant", "b")) + "\n")
    assert (len(read(path, tokenizer, 512).rows), read(path, tokenizer, 512).dropped) == (1, 1)
    path.write_text(nothing + "\n")
    with pytest.raises(TrainerError) as caught:
        read(path, tokenizer, 512)
    assert caught.value.code == "no_trainable_rows"


def test_bytes_that_are_not_utf_8_are_refused_with_the_line(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n"\xff"\n')
    with pytest.raises(TrainerError, match="not UTF-8 at line 2"):
        read(path, tokenizer, 512)
