"""Each answer's stop token is learned, or the base model is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny

from tunebase_trainer.data.examples import IGNORED
from tunebase_trainer.data.rendering import Renderer
from tunebase_trainer.data.rows import parse
from tunebase_trainer.errors import TrainerError

ENDLESS = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tokenizer_of(template: str, eos: str, special: list[str], directory: Path, configured: list[str] | None) -> Any:
    """`configured`: the stop tokens in generation_config.json; None: there is no such file."""
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens([*special, eos], special_tokens=True)
    tokenizer.eos_token, tokenizer.chat_template, tokenizer.name_or_path = eos, template, str(directory)
    if configured is not None:
        config = {"eos_token_id": tokenizer.convert_tokens_to_ids(configured)}
        (directory / "generation_config.json").write_text(json.dumps(config))
    return tokenizer


def learned(tokenizer: Any, *turns: tuple[str, str]) -> list[str]:
    """The runs of learned tokens, newest example first."""
    chat = parse(json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}))
    found = []
    for row in Renderer(tokenizer).rows(chat, 4096).rows:
        text = "".join(
            tokenizer.decode([token]) if label != IGNORED else "\0"
            for token, label in zip(row.input_ids, row.labels, strict=True)
        )
        found += [run for run in text.split("\0") if run]
    return found


TURNS = (("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))


@pytest.mark.parametrize("configured", [None, ["<|im_end|>"], ["<|end|>", "<|im_end|>"]])
def test_the_templates_own_end_is_learned(configured: list[str] | None, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny.CHAT_TEMPLATE, "<|im_end|>", ["<|end|>"], tmp_path, configured)
    assert learned(tokenizer, *TURNS) == ["one<|im_end|>", "two<|im_end|>"]


def test_where_the_next_turn_is_the_stop_token_it_is_learned_after_every_answer(tmp_path: Path) -> None:
    """GLM's kind: no token ends a turn, and generation stops at the next turn's role."""
    roles = ["<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>"]
    stops = ["<|endoftext|>", "<|user|>", "<|observation|>"]
    tokenizer = tokenizer_of(ENDLESS, "<|endoftext|>", roles, tmp_path, stops)
    assert learned(tokenizer, *TURNS) == ["one<|user|>", "two<|user|>"]
    assert learned(tokenizer, *TURNS[:2]) == ["one<|user|>"]


@pytest.mark.parametrize(
    ("template", "eos", "configured", "reason"),
    [
        (ENDLESS, "<|im_end|>", None, "without a special token, but generation stops at <|im_end|>"),
        (tiny.CHAT_TEMPLATE, "<|end|>", ["<|end|>"], "with <|im_end|>, but generation stops at <|end|>"),
    ],
)
def test_a_model_that_would_not_learn_to_stop_is_refused_with_the_reason(
    template: str, eos: str, configured: list[str] | None, reason: str, tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(template, eos, ["<|user|>", "<|assistant|>", "<|end|>"], tmp_path, configured)
    with pytest.raises(TrainerError) as caught:
        Renderer(tokenizer)
    assert caught.value.code == "no_chat_template"
    assert reason in caught.value.message


def test_a_special_end_is_trusted_where_the_models_files_name_no_stop_token(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tiny.CHAT_TEMPLATE, "<|end|>", ["<|end|>"], tmp_path, None)
    assert learned(tokenizer, *TURNS[:2]) == ["one<|im_end|>"]
