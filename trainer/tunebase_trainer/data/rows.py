"""One row of a training file: its check, and the conversation that it is.

What is taken and what is refused is what `supabase/functions/_shared/datasets/` says; the tests of both read
tests/dataset_rows.json. A file has been checked there before it comes here, unless this worker is called directly.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

FORMATS = (
    '{"messages": [{"role": …, "content": …}, …]}, {"prompt": …, "completion": …}, or brightrun-lora-v4 '
    '({"system_prompt", "conversation_history", "current_user_input", "target_response"})'
)
PREFERENCE = "preference"
PREFERENCES = (
    '{"input": {"messages": [{"role": …, "content": …}, …]}, '
    '"preferred_output": [{"role": "assistant", "content": …}], '
    '"non_preferred_output": [{"role": "assistant", "content": …}]}'
)
MAX_DEPTH = 100
# What JavaScript's trim() takes off.
JS_WHITESPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)
SURROGATES = re.compile("[\ud800-\udfff]")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
PREFERENCE_FIELDS = {"input", "preferred_output", "non_preferred_output"}
INPUT_FIELDS = {"messages", "tools", "parallel_tool_calls"}
ROW_FIELDS = {"messages", "metadata", "tools", "functions", "function_call", "parallel_tool_calls", "tool_choice"}
MESSAGE_FIELDS = {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call"}
# Chat completions' parts, and those of the Responses API, which are the same text.
TEXT_TYPES = {"text", "input_text", "output_text"}
# What chat completions' answers carry beside; nothing is in them to train on.
ANSWER_FIELDS = {"refusal", "audio", "annotations"}

Message = dict[str, Any]


class RowProblem(ValueError):
    """Why a row cannot be trained on. `code` is one of report.ts's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Conversation:
    """Messages as a chat template takes them: contents are texts, calls have objects as arguments."""

    format: str
    messages: list[Message]
    learned: frozenset[int]
    """Which messages are learned, by their index."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    rejected: Message | None = None
    """Of a preference row: what is worse than the last message, in its place."""


def parse(text: str) -> Conversation:
    """The conversation of one row. Raises RowProblem."""
    return conversation(load(text))


def load(text: str) -> Any:
    """The JSON of a row, without what other programs would read otherwise. Raises RowProblem."""
    if "\0" in text:
        raise RowProblem("nul", "holds NUL bytes")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer)
        _check_depth(value, MAX_DEPTH)
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        raise RowProblem("not_json", f"is not JSON ({error})") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowProblem("duplicate_key", f"has the key {format_value(twice)} twice in one object")
    return made


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


def conversation(row: Any) -> Conversation:
    """The conversation of a parsed row. Raises RowProblem."""
    if not isinstance(row, dict):
        raise RowProblem("not_object", f"is not a JSON object; it must be {FORMATS}")
    if "messages" in row:
        return _chat(row)
    if "prompt" in row or "completion" in row:
        return _pair(row)
    if "target_response" in row or "current_user_input" in row:
        return _brightrun(row)
    if "preferred_output" in row or "non_preferred_output" in row:
        return _preference(row)
    raise RowProblem("unknown_format", f"has no known format, which are {FORMATS}, or {PREFERENCES}")


def _given(row: dict[str, Any]) -> set[str]:
    """The fields that hold something: programs write null for what is not used."""
    return {name for name, value in row.items() if value is not None}


def _pair(row: dict[str, Any]) -> Conversation:
    for name in ("prompt", "completion"):
        if not isinstance(row.get(name), str) or row[name] == "":
            raise RowProblem("text", f"{name} must be a text that is not empty")
        _check_surrogates(row[name], name)
    if unknown := _given(row) - {"prompt", "completion"}:
        raise RowProblem("unknown_field", f"has unknown fields: {format_value(min(unknown))}")
    messages = [_message("user", row["prompt"]), _message("assistant", row["completion"])]
    return Conversation("prompt_completion", messages, frozenset({1}))


def _brightrun(row: dict[str, Any]) -> Conversation:
    def text(value: Any, name: str, needed: bool) -> str:
        if isinstance(value, str) and (not needed or value.strip(JS_WHITESPACE)):
            _check_surrogates(value, name)
            return value
        if needed or value is not None:
            raise RowProblem("text", f"{name} is {format_value(value)}; it must be a text that is not empty")
        return ""

    system = text(row.get("system_prompt"), "system_prompt", False)
    current = text(row.get("current_user_input"), "current_user_input", True)
    history = row.get("conversation_history")
    if history is None:
        history = []
    if not isinstance(history, list):
        raise RowProblem("history", "conversation_history must be a list")
    messages = [_message("system", system)] if system else []
    for i, turn in enumerate(history):
        at = f"conversation_history[{i}]"
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            raise RowProblem("history", f"{at} must have the role user or assistant")
        messages.append(_message(turn["role"], text(turn.get("content"), f"{at}.content", True)))
    # In real files the history's last entry repeats the current input: two turns of the user's in a row.
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
    tools, names = _tools(row)
    given = row["messages"]
    if not isinstance(given, list) or not given:
        raise RowProblem("messages", "messages must be a list that is not empty")
    calls = ToolCallTracker(names)
    messages: list[Message] = []
    learned: set[int] = set()
    for i, message in enumerate(given):
        messages.append(_chat_message(message, i, calls))
        if message["role"] == "assistant" and message.get("weight") != 0:
            learned.add(i)
    if not any(message["role"] == "assistant" for message in messages):
        raise RowProblem("no_assistant", "has no assistant message to learn from")
    return Conversation("chat", messages, frozenset(learned), tools)


def _preference(row: dict[str, Any]) -> Conversation:
    """The same conversation with one answer and with the other."""
    if unknown := _given(row) - PREFERENCE_FIELDS:
        raise RowProblem("unknown_field", f"has unknown fields: {format_value(min(unknown))}")
    given = row.get("input")
    if not isinstance(given, dict):
        raise RowProblem("preference", "input must be an object with messages")
    if unknown := _given(given) - INPUT_FIELDS:
        raise RowProblem("unknown_field", f"input has unknown fields: {format_value(min(unknown))}")
    before = given.get("messages")
    if not isinstance(before, list) or not before:
        raise RowProblem("messages", "input.messages must be a list that is not empty")
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
            raise RowProblem("weight", f"{name}[0].weight has no place in a preference row")
        try:
            sides.append(_chat({**given, "messages": [*before, answer]}))
        except RowProblem as problem:
            said = str(problem).replace(f"messages[{len(before)}]", f"{name}[0]")
            raise RowProblem(problem.code, said.replace("messages[", "input.messages[")) from problem
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
        raise RowProblem("name", f"{at}.name must be a text that is not empty; it is {format_value(name)}")
    weight = message.get("weight")
    if weight is not None and (role != "assistant" or isinstance(weight, bool) or weight not in (0, 1)):
        raise RowProblem(
            "weight", f"{at}.weight must be 0 or 1, on an assistant's message; it is {format_value(weight)}"
        )
    return _message(role, content) | ({"name": name} if name else {}) | about_tools


def _content(content: Any, at: str, may_be_empty: bool) -> str:
    """ToolCallTracker stand beside a content or in its place: templates get a text either way, which each can join and trim."""
    if isinstance(content, str):
        if not may_be_empty and not content.strip(JS_WHITESPACE):
            raise RowProblem("content", f"{at}.content must be text that is not empty")
        _check_surrogates(content, f"{at}.content")
        return content
    if may_be_empty and content is None:
        return ""
    if not isinstance(content, list) or not (content or may_be_empty):
        raise RowProblem("content", f"{at}.content must be text that is not empty, or a list of text parts")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in TEXT_TYPES or not isinstance(part.get("text"), str):
            raise RowProblem("content", f"{at}.content must be text; only text can be trained on")
        if part["text"] == "" and not may_be_empty:
            raise RowProblem("content", f"{at}.content has a part that is empty")
        _check_surrogates(part["text"], f"{at}.content")
        texts.append(part["text"])
    return "".join(texts)


def _tools(row: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str] | None]:
    """What the row declares, as `tools`, and the names; None for a row that declares nothing."""
    parallel = row.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RowProblem("tools", f"parallel_tool_calls must be true or false; it is {format_value(parallel)}")
    declared: list[dict[str, Any]] = []
    names: set[str] = set()
    for name in ("tools", "functions"):
        given = row.get(name)
        if given is None:
            continue
        if not isinstance(given, list):
            raise RowProblem("tools", f"{name} must be a list")
        for i, item in enumerate(given):
            at = f"{name}[{i}]"
            if name == "tools":
                if not isinstance(item, dict) or item.get("type") != "function":
                    raise RowProblem("tools", f'{at}.type must be "function"')
                item, at = item.get("function"), f"{at}.function"
            declared.append({"type": "function", "function": _declared_function(item, at, names)})
    if row.get("tools") is None and row.get("functions") is None:
        return [], None
    return declared, names


def _declared_function(made: Any, at: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(made, dict):
        raise RowProblem("tools", f"{at} must be an object")
    name, description, parameters = (made.get(key) for key in ("name", "description", "parameters"))
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        raise RowProblem(
            "tools", f"{at}.name is {format_value(name)}; it must be 1 to 64 of the characters a–z A–Z 0–9 _ - ."
        )
    if name in names:
        raise RowProblem("tools", f"{at}.name is {format_value(name)}, which is declared already")
    names.add(name)
    if description is not None and not isinstance(description, str):
        raise RowProblem("tools", f"{at}.description must be a text")
    if parameters is not None and not isinstance(parameters, dict):
        raise RowProblem("tools", f"{at}.parameters must be an object, a JSON Schema")
    return made


class ToolCallTracker:
    """A conversation's calls and their answers: each call is answered before the next turn, but those at the end."""

    def __init__(self, names: set[str] | None) -> None:
        self._names = names
        self._asked: dict[str, str] = {}
        """The function's name by the call's id."""
        self._open: set[str] = set()
        self._older = 0
        """How many calls of the older kind there were, which have no id."""

    def add_message(self, message: Message, at: str) -> Message:
        """Checks what one message says of tools; returns it in the newer form."""
        role, tool_calls, function_call = (message.get(key) for key in ("role", "tool_calls", "function_call"))
        answered = message.get("tool_call_id")
        if role == "tool":
            if not isinstance(answered, str) or answered not in self._asked:
                raise RowProblem(
                    "tool_answer", f"{at}.tool_call_id is {format_value(answered)}; no call before has that id"
                )
            self._open.discard(answered)
            return {"tool_call_id": answered, "name": self._asked[answered]}
        if self._open:
            raise RowProblem("tool_answer", f"the calls before {at} have no answer: {format_value(min(self._open))}")
        if answered is not None:
            raise RowProblem("tool_answer", f"{at}.tool_call_id stands on a message of another role than tool")
        if role == "function":
            if not isinstance(message.get("name"), str) or message["name"] == "":
                raise RowProblem("tool_answer", f"{at}.name must be the name of the function that answers")
            return {"role": "tool", "tool_call_id": f"call_{self._older}"}
        if tool_calls is None and function_call is None:
            return {}
        if role != "assistant":
            raise RowProblem("tool_calls", f"{at} calls a function and is not an assistant's")
        made = []
        if function_call is not None:
            self._older += 1
            made.append(self._call(function_call, f"call_{self._older}", f"{at}.function_call"))
        if tool_calls is not None:
            if not isinstance(tool_calls, list) or not tool_calls:
                raise RowProblem("tool_calls", f"{at}.tool_calls must be a list that is not empty")
            made += [self._tool_call(call, f"{at}.tool_calls[{i}]") for i, call in enumerate(tool_calls)]
        return {"tool_calls": made}

    def _tool_call(self, call: Any, at: str) -> dict[str, Any]:
        if not isinstance(call, dict):
            raise RowProblem("tool_calls", f"{at} must be an object")
        if call.get("type", "function") != "function":
            raise RowProblem("tool_calls", f'{at}.type must be "function"')
        call_id = call.get("id")
        if not isinstance(call_id, str) or call_id == "":
            raise RowProblem("tool_calls", f"{at}.id must be a text that the tool's answer names")
        if call_id in self._asked:
            raise RowProblem("tool_calls", f"{at}.id is {format_value(call_id)}, which a call before has")
        made = self._call(call.get("function"), call_id, f"{at}.function")
        self._asked[call_id] = made["function"]["name"]
        self._open.add(call_id)
        return made

    def _call(self, call: Any, call_id: str, at: str) -> dict[str, Any]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise RowProblem("tool_calls", f"{at} must be an object with a name")
        if self._names is not None and call["name"] not in self._names:
            raise RowProblem("tool_calls", f"{at}.name is {format_value(call['name'])}, which the row does not declare")
        arguments = _decoded(call.get("arguments"))
        if isinstance(arguments, str):  # encoded twice, as some programs do
            arguments = _decoded(arguments)
        if not isinstance(arguments, dict):
            raise RowProblem("tool_calls", f"{at}.arguments must be the JSON text of an object")
        return {"id": call_id, "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _check_surrogates(text: str, name: str) -> None:
    if SURROGATES.search(text):
        raise RowProblem("lone_surrogate", f"{name} holds half of a character (a lone surrogate)")


def format_value(value: Any) -> str:
    """A value of the file as a message shows it: short, and of whole characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "…"
    return SURROGATES.sub("\ufffd", text if len(text) <= 60 else f"{text[:57]}…")
