"""Validates one canonical row of a training file and converts it to a conversation.

The server (`supabase/functions/_shared/datasets/`) converts other formats to canonical rows: chat and preference. So
this worker parses only those, and brightrun-lora-v4 for direct calls. Both accept and reject the same rows; tests of
both read tests/fixtures/dataset_rows.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .json_rows import Message, RowProblem, check_surrogates, format_value, load
from .tool_validation import ToolCallTracker, declared_tools

FORMATS = (
    '{"messages": [{"role": …, "content": …}, …]}, or brightrun-lora-v4 '
    '({"system_prompt", "conversation_history", "current_user_input", "target_response"})'
)
PREFERENCE = "preference"
PREFERENCES = (
    '{"input": {"messages": [{"role": …, "content": …}, …]}, '
    '"preferred_output": [{"role": "assistant", "content": …}], '
    '"non_preferred_output": [{"role": "assistant", "content": …}]}'
)
# Formats that only the server converts, by the fields of a row.
OTHER_FORMATS = {
    "sharegpt": {"conversations"},
    "chosen_rejected": {"chosen", "rejected"},
    "alpaca": {"instruction"},
    "prompt_completion": {"prompt", "completion"},
}
# What JavaScript's trim() removes.
JS_WHITESPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)
PREFERENCE_FIELDS = {"input", "preferred_output", "non_preferred_output"}
INPUT_FIELDS = {"messages", "tools", "parallel_tool_calls"}
ROW_FIELDS = {"messages", "metadata", "tools", "functions", "function_call", "parallel_tool_calls", "tool_choice"}
MESSAGE_FIELDS = {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call"}
# Text parts of the Chat Completions and Responses APIs.
TEXT_TYPES = {"text", "input_text", "output_text"}
# Other fields of Chat Completions responses, which have nothing to train on.
ANSWER_FIELDS = {"refusal", "audio", "annotations"}


@dataclass(frozen=True)
class Conversation:
    """Messages as a chat template expects them: contents are strings, arguments of calls are objects."""

    format: str
    messages: list[Message]
    learned: frozenset[int]
    """Indices of the messages to train on."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    rejected: Message | None = None
    """In a preference row: the non-preferred alternative to the last message."""


class OtherFormat(RowProblem):
    """A row in a format that only the server converts."""

    def __init__(self, name: str) -> None:
        super().__init__("unknown_format", f"has the {name} format, which the server converts before training")


def parse(text: str) -> Conversation:
    """The conversation of one row. Raises RowProblem."""
    return conversation(load(text))


def conversation(row: Any) -> Conversation:
    """The conversation of a parsed row. Raises RowProblem."""
    if not isinstance(row, dict):
        raise RowProblem("not_object", f"is not a JSON object; it must be {FORMATS}")
    if "messages" in row:
        return _chat(row)
    if "target_response" in row or "current_user_input" in row:
        return _brightrun(row)
    if "preferred_output" in row or "non_preferred_output" in row:
        return _preference(row)
    for name, fields in OTHER_FORMATS.items():
        if fields & row.keys():
            raise OtherFormat(name)
    raise RowProblem("unknown_format", f"has an unknown format; supported are {FORMATS}, or {PREFERENCES}")


def _given(row: dict[str, Any]) -> set[str]:
    """The fields that are not null. Programs write null for unused ones."""
    return {name for name, value in row.items() if value is not None}


def _brightrun(row: dict[str, Any]) -> Conversation:
    def text(value: Any, name: str, needed: bool) -> str:
        if isinstance(value, str) and (not needed or value.strip(JS_WHITESPACE)):
            check_surrogates(value, name)
            return value
        if needed or value is not None:
            raise RowProblem("source_field", f"{name} is {format_value(value)}; it must be a non-empty string")
        return ""

    system = text(row.get("system_prompt"), "system_prompt", False)
    current = text(row.get("current_user_input"), "current_user_input", True)
    history = row.get("conversation_history")
    if history is None:
        history = []
    if not isinstance(history, list):
        raise RowProblem("source_field", "conversation_history must be a list")
    messages = [_message("system", system)] if system.strip(JS_WHITESPACE) else []
    for i, turn in enumerate(history):
        at = f"conversation_history[{i}]"
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            raise RowProblem("source_field", f"{at} must have the role user or assistant")
        messages.append(_message(turn["role"], text(turn.get("content"), f"{at}.content", True)))
    # In real files the last history entry repeats the current input: two user turns in a row.
    if history and messages[-1] == _message("user", current):
        messages.pop()
    messages.append(_message("user", current))
    target = row.get("target_response")
    if target is None:
        return Conversation("brightrun-lora-v4", messages, frozenset())
    messages.append(_message("assistant", text(target, "target_response", True)))
    return Conversation("brightrun-lora-v4", messages, frozenset({len(messages) - 1}))


def _chat(row: dict[str, Any]) -> Conversation:
    if unknown := _given(row) - ROW_FIELDS:
        raise RowProblem("unknown_field", f"has unknown fields: {format_value(min(unknown))}")
    tools, names = declared_tools(row)
    given = row["messages"]
    if not isinstance(given, list) or not given:
        raise RowProblem("messages", "messages must be a non-empty list")
    calls = ToolCallTracker(names)
    messages: list[Message] = []
    learned: set[int] = set()
    for i, message in enumerate(given):
        messages.append(_chat_message(message, i, calls))
        if message["role"] == "assistant" and message.get("weight") != 0:
            learned.add(i)
    if not any(message["role"] == "assistant" for message in messages):
        raise RowProblem("no_assistant", "has no assistant message to train on")
    return Conversation("chat", messages, frozenset(learned), tools)


def _preference(row: dict[str, Any]) -> Conversation:
    """Parses a preference row: one conversation with two alternative answers."""
    if unknown := _given(row) - PREFERENCE_FIELDS:
        raise RowProblem("unknown_field", f"has unknown fields: {format_value(min(unknown))}")
    given = row.get("input")
    if not isinstance(given, dict):
        raise RowProblem("preference", "input must be an object with messages")
    if unknown := _given(given) - INPUT_FIELDS:
        raise RowProblem("unknown_field", f"input has unknown fields: {format_value(min(unknown))}")
    before = given.get("messages")
    if not isinstance(before, list) or not before:
        raise RowProblem("messages", "input.messages must be a non-empty list")
    sides = []
    for name in ("preferred_output", "non_preferred_output"):
        answers = row.get(name)
        if not isinstance(answers, list) or len(answers) != 1:
            raise RowProblem("preference", f"{name} must be a list of one assistant message")
        (answer,) = answers
        if not isinstance(answer, dict):
            raise RowProblem("preference", f"{name} must be a list of one assistant message")
        if answer.get("role") != "assistant":
            raise RowProblem("role", f"{name}[0].role must be assistant; it is {format_value(answer.get('role'))}")
        if answer.get("weight") is not None:
            raise RowProblem("weight", f"{name}[0].weight is not allowed in a preference row")
        try:
            sides.append(_chat({**given, "messages": [*before, answer]}))
        except RowProblem as problem:
            message = str(problem).replace(f"messages[{len(before)}]", f"{name}[0]")
            raise RowProblem(problem.code, message.replace("messages[", "input.messages[")) from problem
    preferred, other = sides
    rejected = other.messages[-1]
    learned = frozenset() if rejected == preferred.messages[-1] else frozenset({len(before)})
    return Conversation(PREFERENCE, preferred.messages, learned, preferred.tools, rejected)


def _chat_message(message: Any, i: int, calls: ToolCallTracker) -> Message:
    at = f"messages[{i}]"
    if not isinstance(message, dict):
        raise RowProblem("messages", f"{at} must be an object")
    role = message.get("role")
    if role not in ("system", "user", "assistant", "tool", "function"):
        raise RowProblem("role", f"{at} must have a role: system, user, assistant or tool; it is {format_value(role)}")
    for name, value in message.items():
        if name not in MESSAGE_FIELDS and value is not None and not (name in ANSWER_FIELDS and value == []):
            raise RowProblem("unknown_field", f"{at} has unknown fields: {format_value(name)}")
    about_tools = calls.add_message(message, at)
    called = about_tools.get("tool_calls")
    content = _content(message.get("content"), at, bool(called) or role in ("tool", "function"))
    name = message.get("name")
    if name is not None and (not isinstance(name, str) or name == ""):
        raise RowProblem("name", f"{at}.name must be a non-empty string; it is {format_value(name)}")
    weight = message.get("weight")
    if weight is not None and (role != "assistant" or isinstance(weight, bool) or weight not in (0, 1)):
        raise RowProblem("weight", f"{at}.weight must be 0 or 1, on an assistant message; it is {format_value(weight)}")
    return _message(role, content) | ({"name": name} if name else {}) | about_tools


def _content(content: Any, at: str, may_be_empty: bool) -> str:
    """The content as a string, even for a message that only calls tools, because every template can join and trim
    it."""
    if isinstance(content, str):
        if not may_be_empty and not content.strip(JS_WHITESPACE):
            raise RowProblem("content", f"{at}.content must be a non-empty string")
        check_surrogates(content, f"{at}.content")
        return content
    if may_be_empty and content is None:
        return ""
    if not isinstance(content, list) or not (content or may_be_empty):
        raise RowProblem("content", f"{at}.content must be a non-empty string, or a list of text parts")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in TEXT_TYPES or not isinstance(part.get("text"), str):
            raise RowProblem("content", f"{at}.content must be text; only text can be trained on")
        if part["text"] == "" and not may_be_empty:
            raise RowProblem("content", f"{at}.content has an empty part")
        check_surrogates(part["text"], f"{at}.content")
        texts.append(part["text"])
    return "".join(texts)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
