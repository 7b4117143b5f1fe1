"""Which tokens are learned, in templates of many styles: each example's text is written out, learned parts in ⟦ ⟧.

The tokenizer has a token for each byte, so what is compared is every character's label.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from support import chat_templates as templates
from support import tiny

from tunebase_trainer.data.examples import IGNORED, Row
from tunebase_trainer.data.json_rows import RowProblem
from tunebase_trainer.data.rendering import Renderer, short_id
from tunebase_trainer.data.rows import Conversation, parse

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def with_template(tokenizer: Any, template: str) -> Any:
    from copy import deepcopy

    made = deepcopy(tokenizer)
    made.chat_template = template
    return made


def bytewise(template: str) -> Any:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = template
    tokenizer.eos_token = next(end for end in ENDS if end in template or end == "<|im_end|>")
    tokenizer.add_tokens([tokenizer.eos_token], special_tokens=True)
    return tokenizer


ENDS = ("<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<|im_end|>")


def marked(row: Row, tokenizer: Any) -> str:
    """The row's text with ⟦ and ⟧ around what is learned, from its tokens and labels alone."""
    assert len(row.input_ids) == len(row.labels)
    assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(row.input_ids, row.labels, strict=True):
        if not runs or runs[-1][0] != (label != IGNORED):
            runs.append((label != IGNORED, []))
        runs[-1][1].append(token)
    return "".join(
        f"⟦{text}⟧" if learned else text for learned, text in ((on, tokenizer.decode(ids)) for on, ids in runs)
    )


def examples(template: str, given: Conversation, max_length: int = 4096) -> list[str]:
    tokenizer = bytewise(template)
    return [marked(row, tokenizer) for row in Renderer(tokenizer).rows(given, max_length).rows]


def chat(*messages: Any, **row: Any) -> Conversation:
    """Of ("role", "content") or messages."""
    full = [m if isinstance(m, dict) else {"role": m[0], "content": m[1]} for m in messages]
    return parse(json.dumps({"messages": full, **row}))


def call(arguments: str, call_id: str = "call_abcdef", content: str | None = None) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {"role": "assistant", "content": content, "tool_calls": [
        {"id": call_id, "type": "function", "function": function}
    ]}  # fmt: skip


TWO = chat(("system", "S"), ("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
WITHOUT_SYSTEM = chat(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
WITH_TOOLS = chat(
    ("user", "a"),
    call('{"city": "Oslo"}'),
    {"role": "tool", "tool_call_id": "call_abcdef", "content": "rain"},
    ("assistant", "Wet."),
    tools=[TOOL],
)


@pytest.mark.parametrize(
    ("template", "given", "expected"),
    [
        (
            templates.CHATML,
            TWO,
            [
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦one<|im_end|>⟧\n"
                "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n⟦two<|im_end|>⟧\n"
            ],
        ),
        (
            templates.LLAMA3,
            TWO,
            [
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n⟦one<|eot_id|>⟧"
                "<|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n⟦two<|eot_id|>⟧"
            ],
        ),
        (
            templates.QWEN25,
            WITHOUT_SYSTEM,
            [
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
                "<|im_start|>assistant\n⟦one<|im_end|>⟧\n<|im_start|>user\nb<|im_end|>\n"
                "<|im_start|>assistant\n⟦two<|im_end|>⟧\n"
            ],
        ),
        (  # The newest answer has its empty thoughts; the earlier one, shown without them, an example of its own.
            templates.QWEN3,
            WITHOUT_SYSTEM,
            [
                "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n<|im_start|>user\nb<|im_end|>\n"
                "<|im_start|>assistant\n⟦<think>\n\n</think>\n\ntwo<|im_end|>⟧\n",
                "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\none<|im_end|>⟧\n",
            ],
        ),
        (
            templates.QWEN3,
            chat(
                ("user", "a"),
                ("assistant", "<think>\nhm\n</think>\n\none"),
                ("user", "b"),
                ("assistant", "<think>\nso\n</think>\n\ntwo"),
            ),
            [
                "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n<|im_start|>user\nb<|im_end|>\n"
                "<|im_start|>assistant\n⟦<think>\nso\n</think>\n\ntwo<|im_end|>⟧\n",
                "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦<think>\nhm\n</think>\n\none<|im_end|>⟧\n",
            ],
        ),
        (  # The system message moves to the last user's turn; the earlier answer is trained at another position.
            templates.MISTRAL,
            TWO,
            [
                "<s>[INST] a[/INST] one</s>[INST] S\n\nb[/INST]⟦ two</s>⟧",
                "<s>[INST] S\n\na[/INST]⟦ one</s>⟧",
            ],
        ),
        (templates.MISTRAL, WITHOUT_SYSTEM, ["<s>[INST] a[/INST]⟦ one</s>⟧[INST] b[/INST]⟦ two</s>⟧"]),
        (
            templates.GEMMA,
            WITHOUT_SYSTEM,
            [
                "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n⟦one<end_of_turn>⟧\n"
                "<start_of_turn>user\nb<end_of_turn>\n<start_of_turn>model\n⟦two<end_of_turn>⟧\n"
            ],
        ),
        (
            templates.PHI,
            WITHOUT_SYSTEM,
            [
                "<|user|>a<|end|><|assistant|>one<|end|><|user|>b<|end|><|assistant|>⟦two<|end|><|endoftext|>⟧",
                "<|user|>a<|end|><|assistant|>⟦one<|end|><|endoftext|>⟧",
            ],
        ),
        (
            templates.REASONER,
            WITHOUT_SYSTEM,
            [
                "<|user|>a<|end|><|assistant|>one<|end|><|user|>b<|end|><|assistant|>⟦two<|end|>⟧",
                "<|user|>a<|end|><|assistant|>⟦one<|end|>⟧",
            ],
        ),
        (
            templates.LLAMA3,
            WITH_TOOLS,
            [
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + json.dumps(TOOL) + "<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
                '⟦{"name": "weather", "parameters": {"city": "Oslo"}}<|eot_id|>⟧'
                '<|start_header_id|>ipython<|end_header_id|>\n\n"rain"<|eot_id|>'
                "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Wet.<|eot_id|>⟧"
            ],
        ),
        (
            templates.QWEN25,
            WITH_TOOLS,
            [
                "<|im_start|>system\nYou may call:\n" + json.dumps(TOOL) + "<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
                '<|im_start|>assistant\n⟦<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
                "<|im_end|>⟧\n<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
                "<|im_start|>assistant\n⟦Wet.<|im_end|>⟧\n"
            ],
        ),
        (
            templates.MISTRAL,
            WITH_TOOLS,
            [
                "<s>[AVAILABLE_TOOLS]" + json.dumps([TOOL]) + "[/AVAILABLE_TOOLS][INST] a[/INST]"
                '⟦[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}, "id": "{id}"}]</s>⟧'
                '[TOOL_RESULTS]{"content": rain, "call_id": "{id}"}[/TOOL_RESULTS]⟦ Wet.</s>⟧'
            ],
        ),
        (
            templates.TEXT_ARGUMENTS,
            WITH_TOOLS,
            ['<user>a</s><assistant>⟦weather {"city": "Oslo"}</s>⟧<tool>rain</s><assistant>⟦Wet.</s>⟧'],
        ),
    ],
)
def test_only_answers_and_their_end_tokens_are_learned(template: str, given: Conversation, expected: list[str]) -> None:
    nine = short_id("call_abcdef")
    assert len(nine) == 9 and nine.isalnum()
    assert examples(template, given) == [text.replace("{id}", nine) for text in expected]


def test_an_answer_of_weight_0_is_read_and_not_learned() -> None:
    muted = {"role": "assistant", "content": "one", "weight": 0}
    assert examples(templates.GEMMA, chat(("user", "a"), muted, ("user", "b"), ("assistant", "two"))) == [
        "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\none<end_of_turn>\n"
        "<start_of_turn>user\nb<end_of_turn>\n<start_of_turn>model\n⟦two<end_of_turn>⟧\n"
    ]


def test_text_after_the_last_learned_answer_is_dropped() -> None:
    assert examples(templates.PHI, chat(("user", "a"), ("assistant", "one"), ("user", "b"))) == [
        "<|user|>a<|end|><|assistant|>⟦one<|end|><|endoftext|>⟧"
    ]


def test_a_conversation_that_the_assistant_opens_is_learned() -> None:
    assert examples(templates.QWEN25, chat(("assistant", "Hello"), ("user", "a"), ("assistant", "one")))[0].endswith(
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦one<|im_end|>⟧\n"
    )
    alone = examples(templates.QWEN25, chat(("assistant", "Hello")))
    assert alone[0].endswith("<|im_start|>assistant\n⟦Hello<|im_end|>⟧\n")


def test_content_next_to_a_tool_call_is_learned() -> None:
    (text,) = examples(templates.QWEN25, chat(("user", "a"), call("{}", content="One moment."), tools=[TOOL]))
    assert "⟦One moment.\n<tool_call>" in text


@pytest.mark.parametrize("name", sorted(templates.ALL))
@pytest.mark.parametrize("given", [TWO, WITHOUT_SYSTEM, WITH_TOOLS], ids=["two", "without system", "tools"])
# @proves others-chat-templates
def test_each_learned_answer_is_preceded_by_the_prompt_of_serving(name: str, given: Conversation) -> None:
    """Token by token: the prompt as serving makes it, `add_generation_prompt` and encoded alone, begins the example."""
    tokenizer = bytewise(templates.ALL[name])
    renderer = Renderer(tokenizer)
    no_calls = {"chatml", "gemma", "phi", "plain", "qwen3", "reasoner"}
    if (given is TWO and name == "gemma") or (given is WITH_TOOLS and name in no_calls):
        with pytest.raises(RowProblem):
            renderer.rows(given, 4096)
        return
    rendered = renderer.rows(given, 4096)
    if name == "reasoner":
        assert rendered.prompt_mismatches == 2
        return
    assert rendered.prompt_mismatches == 0
    asked = set()
    for i in given.learned:
        prompt = renderer.text(given.messages[:i], given.tools, True)
        asked.add(tuple(tokenizer(prompt, add_special_tokens=False).input_ids))
    begun = set()
    for row in rendered.rows:
        starts = [n for n in range(1, len(row.labels)) if row.labels[n] != IGNORED and row.labels[n - 1] == IGNORED]
        begun |= {tuple(row.input_ids[:start]) for start in starts}
    assert begun == asked


def test_an_answer_whose_prompt_later_has_other_tokens_gets_its_own_example(tokenizer: Any) -> None:
    """SmolLM2 joins the prompt's last blank with the answer's first word, if both are encoded at once."""
    plain = with_template(tokenizer, templates.PLAIN)
    given = chat(("user", "hi there"), ("assistant", "hello you"), ("user", "so"), ("assistant", "yes"))
    together = plain("assistant: hello", add_special_tokens=False).input_ids
    assert together[-1] == plain(" hello", add_special_tokens=False).input_ids[0], "or this test proves nothing"
    renderer, end = Renderer(plain), plain.eos_token
    newest, oldest = renderer.rows(given, 512).rows
    start = f"user: hi there{end}\nassistant: "
    assert marked(newest, plain) == f"{start}hello you{end}\nuser: so{end}\nassistant: ⟦yes{end}⟧\n"
    assert marked(oldest, plain) == f"{start}⟦hello you{end}⟧\n"
    for row, before in ((oldest, given.messages[:1]), (newest, given.messages[:3])):
        prompt = plain(renderer.text(before, [], True), add_special_tokens=False).input_ids
        assert row.input_ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("template", "given", "said"),
    [
        (
            templates.GEMMA,
            TWO,
            "System role not supported. Move the system message to the start",
        ),
        (templates.GEMMA, chat(("user", "a"), ("user", "b"), ("assistant", "c")), "must alternate user/assistant/user"),
        (
            templates.MISTRAL,
            chat(("user", "a"), ("user", "b"), ("assistant", "c")),
            "Merge consecutive turns of the same role",
        ),
        (
            templates.LLAMA3,
            chat(
                ("user", "a"),
                {**call("{}"), "tool_calls": [call("{}", i)["tool_calls"][0] for i in "ab"]},
                tools=[TOOL],
            ),
            "only supports single tool-calls at once!",
        ),
        (templates.CHATML, WITH_TOOLS, "does not show calls: choose a base model with tool support"),
    ],
)
def test_a_row_that_the_template_rejects_is_reported_with_the_reason(
    template: str, given: Conversation, said: str
) -> None:
    with pytest.raises(RowProblem) as caught:
        examples(template, given)
    assert said in str(caught.value)


def test_consecutive_user_turns_are_trained_on_if_the_template_accepts_them() -> None:
    assert examples(templates.CHATML, chat(("user", "a"), ("user", "b"), ("assistant", "c"))) == [
        "<|im_start|>user\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n⟦c<|im_end|>⟧\n"
    ]


LONG = chat(("system", "S"), *[turn for i in range(9) for turn in (("user", f"q{i}"), ("assistant", f"answer {i}"))])


@pytest.mark.parametrize("name", ["chatml", "llama3", "qwen3", "mistral", "phi"])
# @proves report-lost-answers
def test_each_answer_of_an_overlong_conversation_is_learned_once_and_completely(name: str) -> None:
    """Each in an example that holds as much of what was said before as fits, the newest first."""
    tokenizer = bytewise(templates.ALL[name])
    renderer = Renderer(tokenizer)
    whole = renderer.rows(LONG, 4096)
    longest = max(len(row.input_ids) for row in whole.rows)
    cut = renderer.rows(LONG, longest // 2)
    assert (whole.truncated_tokens, whole.too_long, cut.too_long) == (0, 0, 0)
    assert cut.truncated_tokens > 0
    texts = [marked(row, tokenizer) for row in cut.rows]
    assert all(len(row.input_ids) <= longest // 2 for row in cut.rows)
    learned = [part.split("⟧")[0] for text in texts for part in text.split("⟦")[1:]]
    for i in range(9):
        assert sum(f"answer {i}" in part for part in learned) == 1
    assert all("S" in text for text in texts), "the system message stays"
    assert any("q0" not in text for text in texts)
    # As much as fits: with one more turn of a user's before it, the newest example would be too long.
    first = min(int(text) for text in range(9) if f"q{text}" in texts[0])
    more = Conversation(
        "chat", [LONG.messages[0], *LONG.messages[2 * first - 1 :]], frozenset({len(LONG.messages) - 2 * first + 1})
    )
    assert len(renderer.rows(more, 4096).rows[0].input_ids) > longest // 2


# @proves report-lost-answers
def test_a_long_prompt_loses_its_start_and_keeps_the_complete_answer() -> None:
    given = chat(("user", "word " * 100), ("assistant", "the answer"))
    tokenizer = bytewise(templates.CHATML)
    rendered = Renderer(tokenizer).rows(given, 100)
    (row,) = rendered.rows
    assert len(row.input_ids) == 100
    assert marked(row, tokenizer).endswith("word <|im_end|>\n<|im_start|>assistant\n⟦the answer<|im_end|>⟧\n")
    assert rendered.truncated_tokens == len(Renderer(tokenizer).rows(given, 4096).rows[0].input_ids) - 100


def test_an_overlong_answer_is_skipped_and_counted_never_truncated() -> None:
    given = chat(("user", "a"), ("assistant", "short"), ("user", "b"), ("assistant", "long " * 50))
    tokenizer = bytewise(templates.CHATML)
    rendered = Renderer(tokenizer).rows(given, 100)
    assert rendered.too_long == 1
    assert [marked(row, tokenizer) for row in rendered.rows] == [
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n⟦short<|im_end|>⟧\n"
    ]


# @proves others-chat-templates
def test_a_template_is_identified_by_the_hash_of_its_text() -> None:
    assert Renderer(bytewise(templates.PHI)).template_sha256 == hashlib.sha256(templates.PHI.encode()).hexdigest()


def test_a_template_that_does_not_show_tools_is_detected() -> None:
    shown = {name: Renderer(bytewise(text)).shows_tools for name, text in templates.ALL.items()}
    assert [name for name, shows in shown.items() if shows] == ["chatml_tools", "llama3", "qwen25", "mistral"]
