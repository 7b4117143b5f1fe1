"""Against the templates of many models, as TRL ships them: every prefix's text, and the tokens before every answer."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import trl

from tunebase_trainer.data.examples import IGNORED
from tunebase_trainer.data.json_rows import RowProblem
from tunebase_trainer.data.prefix_texts import PrefixTexts, scannable
from tunebase_trainer.data.rendering import Renderer
from tunebase_trainer.data.rows import Conversation, parse

# One version of each.
NAMES = [
    *("cohere", "cohere2", "deepseekv3", "gemma", "gemma3", "gemma4_v5", "glm4moe", "gptoss", "lfm2_v2", "llama3"),
    *(
        "llama3_1",
        "muse_glimmer",
        "nemotron_3_nano",
        "phi3",
        "qwen2_5",
        "qwen3",
        "qwen3_5_think",
        "qwen3_instruct_2507",
    ),
    "smolvlm",
]
TEMPLATES = {name: (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text() for name in NAMES}
SPECIAL = re.compile(
    r"<[|｜][^<>|｜\s]+[|｜]>|</?[a-z_]+_of_[a-z]+>|</?(?:think|tool_call|tool_response)>|<turn\||<\|turn>"
)


def turns(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for pair in pairs for role, content in zip(ROLES, pair, strict=True)]


ROLES = ("user", "assistant")
PLAIN = turns(*((f" q{n} ok? \n", f" answer {n}" * (n % 3 + 1) + "\n" * (n % 2)) for n in range(6)))
THINKING = turns(*((f"q{n}", f"<think>\nhm {n}\n</think>\n\nanswer {n}") for n in range(4)))
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "x"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": PARAMETERS}}


def tool_loop(question: int) -> list[dict[str, Any]]:
    """Three calls with their results, and an answer."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"q{question} ok?"}]
    for step in range(3):
        call_id = f"call_{question}{step}"
        call = {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        messages += [
            {"role": "assistant", "content": "Let me see.\n" if step == 1 else None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call_id, "content": f"rain {step}"},
        ]
    return [*messages, {"role": "assistant", "content": f"\nWet {question}. "}]


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "plain": {"messages": PLAIN},
    "system": {"messages": [{"role": "system", "content": "Be\n"}, *PLAIN]},
    "thinking": {"messages": THINKING},
    "tools": {"messages": [message for n in range(3) for message in tool_loop(n)], "tools": [TOOL]},
}


def conversation(name: str) -> Conversation:
    return parse(json.dumps(CONVERSATIONS[name]))


@pytest.fixture(scope="module")
def any_tokenizer(tokenizer: Any) -> Any:
    """SmolLM2's, which knows the special tokens of all templates too: each copy of it takes a third of a second."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.name_or_path = ""  # SmolLM2's generation_config.json has its own end
    tokenizer.add_tokens(sorted(set(SPECIAL.findall("".join(TEMPLATES.values())))), special_tokens=True)
    tokenizer.add_tokens(["<|user|>"], special_tokens=True)
    return tokenizer


def renderer_of(template: str, tokenizer: Any, eos: str) -> Renderer:
    tokenizer.chat_template = template
    tokenizer.eos_token = eos
    return Renderer(tokenizer)


def renderer_for(name: str, tokenizer: Any) -> Renderer:
    return renderer_of(TEMPLATES[name], tokenizer, "<|user|>" if name == "glm4moe" else "<|im_end|>")


def outcome(render: Any) -> Any:
    try:
        return render()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", TEMPLATES)
def test_prefixes_and_contexts_are_those_of_serving(name: str, any_tokenizer: Any) -> None:
    renderer = renderer_for(name, any_tokenizer)
    for given in map(conversation, CONVERSATIONS):
        messages, tools = given.messages, given.tools
        texts = PrefixTexts(renderer, messages, tools)
        for count in range(len(messages) + 1):
            for prompt in (False, True):
                expected = outcome(lambda: renderer.text(messages[:count], tools, prompt))  # noqa: B023
                assert outcome(lambda: texts.text(count, prompt)) == expected, (count, prompt)  # noqa: B023
        try:
            rendered = renderer.rows(given, 100_000)
        except RowProblem:
            continue
        if rendered.prompt_mismatches:  # the template asks with more text than conversations have, which is reported
            continue
        asked = [renderer.text(messages[:i], tools, True) for i in given.learned]
        begun = [
            row.input_ids[:start]
            for row in rendered.rows
            for start in range(1, len(row.labels))
            if row.labels[start] != IGNORED and row.labels[start - 1] == IGNORED
        ]
        assert sorted(begun) == sorted(renderer.encode(text, [len(text)])[0] for text in asked)


# What of each conversation is found in one pass; the rest is rendered prefix by prefix.
SCANNED = {
    "gemma": ["plain", "thinking"],
    "llama3": ["plain", "system", "thinking", "tools"],
    "llama3_1": ["plain", "system", "thinking"],
    "phi3": ["plain", "system", "thinking", "tools"],
    "qwen2_5": ["plain", "system", "thinking"],  # of a tool's result it asks whether another one follows
    "qwen3_instruct_2507": ["plain", "system", "thinking"],
    "smolvlm": ["plain", "system", "thinking"],
    "qwen3": [],
    "deepseekv3": [],
    "glm4moe": [],
    "gptoss": [],
}


@pytest.mark.parametrize("name", SCANNED)
def test_a_template_that_reads_from_left_to_right_is_rendered_in_one_pass(name: str, any_tokenizer: Any) -> None:
    renderer = renderer_for(name, any_tokenizer)
    complete = []
    for chat in CONVERSATIONS:
        given, calls = conversation(chat), 0
        texts = PrefixTexts(renderer, given.messages, given.tools)

        def text(*_: Any) -> str:
            nonlocal calls
            calls += 1
            raise ValueError

        texts._renderer = type("Counting", (), {"text": text})()
        for count in range(1, len(given.messages) + 1):
            for prompt in (False, True):
                outcome(lambda: texts.text(count, prompt))  # noqa: B023
        if calls == 0:
            complete.append(chat)
    assert complete == SCANNED[name]


@pytest.mark.parametrize(
    "template",
    [
        # The end depends on the last message.
        "{% for m in messages %}<{{ m.content }}>{% set last = m.content %}{% endfor %}{{ messages[-1].content }}>",
        "{% set s = namespace(n=0) %}{% for m in messages %}<{{ m }}>{% set s.n = s.n + 1 %}{% endfor %}{{ s.n }}>",
        # Reads everything first, or reads the next message.
        "{% for m in messages %}{% endfor %}{% for m in messages %}<{{ m.content }}>{% endfor %}",
        "{% for m in messages %}<{{ m.content }}{% if loop.last %}!{% endif %}>{% endfor %}",
        "{% for m in messages %}<{{ m.content }}{{ messages[loop.index0 + 1] }}>{% endfor %}",
        "{% for m in messages %}<{{ m.content }}{{ messages | length }}>{% endfor %}",
        "{% for m in messages %}<{{ m.content }}{% for o in messages %}{{ o.role }}{% endfor %}>{% endfor %}",
        "{% macro all() %}{% for m in messages %}{{ m.content }}{% endfor %}{% endmacro %}{{ all() }}{{ all() }}>",
        # The generation prompt is not only at the end.
        "{% if add_generation_prompt %}A{% endif %}{% for m in messages %}<{{ m.content }}>{% endfor %}",
        # Filters and slices.
        "{% for m in messages | selectattr('role', 'equalto', 'user') %}<{{ m.content }}>{% endfor %}",
        "{% for m in messages if m.role == 'user' %}<{{ m.content }}>{% endfor %}",
        "{% set rest = messages[1:] %}{% for m in rest %}<{{ m.content }}>{% else %}none{% endfor %}",
        "{% for m in messages[:-1] %}<{{ m.content }}>{% endfor %}",
        "{% for m in messages %}<{{ m.content }}>{% if m.content == 'c' %}{% break %}{% endif %}{% endfor %}",
        "{% set r = messages[1:] %}{% for m in r %}<{{ m }}>{% endfor %}{% if add_generation_prompt %}A{% endif %}",
    ],
)
def test_a_scan_never_changes_a_prefix(template: str, tiny_tokenizer: Any) -> None:
    renderer = renderer_of(template, copy.deepcopy(tiny_tokenizer), eos=">")
    messages = turns(("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"))
    texts = PrefixTexts(renderer, messages, [])
    for count in range(1, len(messages) + 1):
        for prompt in (False, True):
            assert texts.text(count, prompt) == renderer.text(messages[:count], [], prompt)


def test_a_template_of_one_loop_with_a_constant_end_is_scannable(tokenizer: Any) -> None:
    assert scannable(tokenizer.chat_template) is not None
    assert scannable("{{ messages[0].content }}") is None
