"""Which rows are accepted, as in the server's validation, and how the others are reported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support import chat_templates, tiny
from support.paths import REPOSITORY

from tunebase_trainer.data import rendered_rows
from tunebase_trainer.data.dataset import IGNORED, Dataset, read, read_prompts
from tunebase_trainer.data.examples import Row
from tunebase_trainer.data.json_rows import RowProblem
from tunebase_trainer.data.rows import parse
from tunebase_trainer.errors import TrainerError

# Read by tests/files/dataset_validation_test.ts, too: both sides accept and reject the same rows.
CASES: list[dict[str, Any]] = json.loads((REPOSITORY / "tests/fixtures/dataset_rows.json").read_text())
# What is wrong with a file and not with one of its rows.
OF_THE_FILE = {"no_rows", "nothing_to_learn", "mixed_formats", "wrong_version"}


@pytest.fixture(scope="module")
def with_tools() -> Any:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = chat_templates.CHATML_TOOLS
    return tokenizer


def learned(row: Row, tokenizer: Any) -> str:
    assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    return str(tokenizer.decode([label for label in row.labels if label != IGNORED]))


def chat(*turns: tuple[str, str], **extra: Any) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns], **extra})


def text_of(case: dict[str, Any]) -> str:
    if "document" in case:
        return json.dumps(case["document"], indent=case.get("indent"))
    return "\n".join(line if isinstance(line, str) else json.dumps(line) for line in case["lines"])


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_a_file_is_accepted_or_rejected_like_the_servers_validation_does(
    case: dict[str, Any], with_tools: Any, tmp_path: Path
) -> None:
    path = written(tmp_path, text_of(case))
    if "learned" in case:
        data = read(path, with_tools, 4096, method=case.get("method", "supervised"))
        texts = [learned(part, with_tools) for row in data.rows for part in row.sequences]
        assert "".join(texts) == "".join(f"{text}<|im_end|>" for text in case["learned"])
        return
    with pytest.raises(TrainerError) as caught:
        read(path, with_tools, 4096, method=case.get("method", "supervised"))
    nothing = case["refused"] in ("no_rows", "nothing_to_learn")
    assert caught.value.code == ("no_trainable_rows" if nothing else "invalid_dataset")
    assert caught.value.hint
    if case["refused"] not in OF_THE_FILE and "lines" in case:
        with pytest.raises(RowProblem) as row:
            for line in text_of(case).splitlines():
                parse(line)
        assert row.value.code == case["refused"]
        assert f"line {len(case['lines'])}: {row.value}" in caught.value.message


def test_a_byte_order_mark_is_no_problem(with_tools: Any, tmp_path: Path) -> None:
    row = chat(("user", "a"), ("assistant", "b"))
    assert len(read(written(tmp_path, f"\ufeff{row}\n\n  \n"), with_tools, 512).rows) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x1f\x8b\x08 and more", "compressed with gzip"),
        (b"PK\x03\x04 and more", "a zip archive"),
        (b"PAR1 and more", "a Parquet file"),
        (chat(("user", "a"), ("assistant", "b")).encode("utf-16"), "UTF-16"),
        (chat(("user", "a"), ("assistant", "b")).encode() + b'\n"\xff"\n', "not UTF-8 at line 2"),
        (b'{"conversations":[{"training_pairs":[\n"\xff"\n]}]}', "not UTF-8 at line 2"),
        (b'{"conversations":[{"training_pairs":[\n', "not one JSON object: line 2 is invalid"),
        (b'{"conversations":[]}\n{}', "not one JSON object: line 2 is invalid"),
        (chat(("user", "x" * (4 * 2**20)), ("assistant", "b")).encode(), "has a line longer than 4 MiB, line 1"),
    ],
)
def test_a_file_of_another_format_is_rejected_by_name(with_tools: Any, tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(TrainerError) as caught:
        read(written(tmp_path, data), with_tools, 512)
    assert caught.value.code == "invalid_dataset"
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a", "completion": "b"}\n' * 2, "line 1: has the prompt_completion format"),
        ('{"instruction": "a", "output": "b"}\n' * 2, "line 1: has the alpaca format"),
        ('{"conversations": [{"from": "human", "value": "a"}]}\n' * 2, "line 1: has the sharegpt format"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 2, "line 1: has the chosen_rejected format"),
        (
            f"{chat(('user', 'a'), ('assistant', 'b'))}\n" + '{"prompt": "a"}\n',
            "line 2: has the prompt_completion format",
        ),
        ('[{"prompt": "a", "completion": "b"}]', "is a JSON array"),
        ("[\n" + chat(("user", "a"), ("assistant", "b")) + "\n]", "is a JSON array"),
        ("prompt,completion\na,b\n", "is a CSV or TSV file"),
        ('"id";"messages"\n1;x\n', "is a CSV or TSV file"),
        ("PAR1 and more", "a Parquet file"),
    ],
)
def test_a_file_that_only_the_server_converts_is_rejected_once_by_name(
    with_tools: Any, tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        read(written(tmp_path, text), with_tools, 512)
    assert caught.value.code == "invalid_dataset"
    assert said in caught.value.message and caught.value.message.count("line ") <= 1
    assert caught.value.hint == "Upload the file through the API, or convert it with `tunebase files convert`."


# @proves report-duplicate-turn
def test_a_history_whose_last_turn_repeats_the_question_is_read_without_the_copy(
    with_tools: Any, tmp_path: Path
) -> None:
    turns = [("user", "hello"), ("assistant", "hi"), ("user", "how much is it")]
    row = {
        "conversation_history": [
            {"turn": n, "role": role, "content": content} for n, (role, content) in enumerate(turns)
        ],
        "current_user_input": "how much is it",
        "target_response": "ten",
    }
    meta = {"_meta": {"file_name": "a", "total_pairs": 1, "version": "4.0.0"}}
    (repeated,) = read(written(tmp_path, f"{json.dumps(meta)}\n{json.dumps(row)}\n"), with_tools, 512).rows
    row["conversation_history"] = row["conversation_history"][:-1]
    (plain,) = read(written(tmp_path, f"{json.dumps(meta)}\n{json.dumps(row)}\n"), with_tools, 512).rows
    assert repeated == plain
    assert with_tools.decode(repeated.sequences[0].input_ids).count("how much is it") == 1


def test_a_row_of_a_document_is_named_by_its_line(with_tools: Any, tmp_path: Path) -> None:
    pairs = [{"current_user_input": "a", "target_response": "b"}, {"current_user_input": "", "target_response": "b"}]
    document = json.dumps({"conversations": [{"training_pairs": pairs}]}, indent=1)
    line = next(n for n, text in enumerate(document.split("\n"), 1) if '"current_user_input": ""' in text) - 1
    with pytest.raises(TrainerError, match=f"line {line}: current_user_input is"):
        read(written(tmp_path, document), with_tools, 512)


def test_twenty_broken_lines_are_named_and_no_more(with_tools: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        read(written(tmp_path, "[]\n" * 50), with_tools, 512)
    assert caught.value.message.count("line ") == 20


# @proves report-no-examples, others-all-masked
def test_truncated_and_skipped_rows_are_counted_and_reported(with_tools: Any, tmp_path: Path) -> None:
    lines = [
        chat(("user", "a"), ("assistant", "fits")),
        chat(("user", "old " * 30), ("assistant", "x"), ("user", "b"), ("assistant", "kept")),
        chat(("user", "a"), ("assistant", "far too long " * 20)),
        json.dumps({"messages": [{"role": "assistant", "content": "muted", "weight": 0}]}),
    ]
    data = read(written(tmp_path, "\n".join(lines)), with_tools, 100)
    assert (data.conversations, data.truncated, data.skipped, data.too_long) == (2, 1, 1, [3])
    assert ([row.line for row in data.rows], data.truncated_tokens > 0) == ([1, 2, 2], True)
    assert data.warnings(100) == [
        f"Truncated 1 row longer than max_length = 100 tokens: removed {data.truncated_tokens} tokens from the oldest "
        "turns or the start of prompts. The answers are complete.",
        "Skipped 1 answer longer than max_length = 100 tokens (line 3). A larger max_length keeps it.",
        "Skipped 1 row with no trainable tokens.",
    ]
    assert data.tokens == sum(row.tokens for row in data.rows)
    assert Dataset().warnings(100) == []


def test_tools_that_the_template_does_not_show_are_a_warning(tiny_tokenizer: Any, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    data = read(written(tmp_path, chat(("user", "a"), ("assistant", "b"), tools=tools)), tiny_tokenizer, 512)
    assert data.tools_unseen == 1
    assert data.warnings(512)[0].startswith("1 row declares tools that the base model's chat template does not show")


# @proves report-no-examples, others-all-masked
def test_a_file_with_only_overlong_answers_is_rejected_with_a_better_max_length(
    with_tools: Any, tmp_path: Path
) -> None:
    with pytest.raises(TrainerError) as caught:
        read(written(tmp_path, chat(("user", "a"), ("assistant", "long " * 50))), with_tools, 128)
    assert caught.value.code == "no_trainable_rows"
    assert "max_length = 128" in caught.value.message and "such as 256" in caught.value.hint


# @proves report-no-chat-template
def test_a_model_without_a_chat_template_is_rejected(tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(TrainerError) as caught:
        read(written(tmp_path, chat(("user", "a"), ("assistant", "b"))), tokenizer, 512)
    assert caught.value.code == "no_chat_template"


def test_prompts_are_read_by_their_lines(with_tools: Any, tmp_path: Path) -> None:
    rows = "\n".join(chat(("user", f"question {n}"), ("assistant", f"answer {n}")) for n in range(9))
    prompts = read_prompts(written(tmp_path, rows), with_tools, {1, 4, 99})
    assert [(p.line, p.question, p.expected) for p in prompts.values()] == [
        (n + 1, f"question {n}", f"answer {n}") for n in (0, 3)
    ]
    assert prompts[1].text == "<|im_start|>user\nquestion 0<|im_end|>\n<|im_start|>assistant\n"


def test_several_processes_read_a_file_as_one_does(with_tools: Any, tmp_path: Path) -> None:
    rows = [chat(("user", f"What is {n} plus {n}?"), ("assistant", f"{2 * n}." * (n % 40 + 1))) for n in range(200)]
    path = written(tmp_path, "\n\n".join(rows))
    alone = read(path, with_tools, 48, processes=1)
    assert alone.too_long and [row.line for row in alone.rows] == sorted(row.line for row in alone.rows)
    assert read(path, with_tools, 48, processes=2) == alone
    written(tmp_path, "\n".join([*rows, '{"messages": 1}', "no JSON", *["{}"] * 100]))
    with pytest.raises(TrainerError) as caught:
        read(path, with_tools, 48, processes=2)
    with pytest.raises(TrainerError) as expected:
        read(path, with_tools, 48, processes=1)
    assert caught.value.message == expected.value.message
    assert "line 201: messages must be" in caught.value.message and "line 220: " in caught.value.message


def test_small_files_are_read_in_this_process_and_ranks_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "{}")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert rendered_rows.processes_for(path) == 1
    os.truncate(path, rendered_rows.PARALLEL_BYTES)
    assert rendered_rows.processes_for(path) == 8
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert rendered_rows.processes_for(path) == 4
