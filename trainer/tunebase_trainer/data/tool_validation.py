"""Validates a row's tools: its declared functions, and that calls and responses match."""

from __future__ import annotations

import re
from typing import Any

from .json_rows import Message, RowProblem, decode_arguments, format_value

TOOL_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def declared_tools(row: dict[str, Any]) -> tuple[list[dict[str, Any]], set[str] | None]:
    """The declared functions in the form of `tools`, and their names; None if the row declares none."""
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
            "tools", f"{at}.name is {format_value(name)}; it must have 1 to 64 of the characters a–z A–Z 0–9 _ - ."
        )
    if name in names:
        raise RowProblem("tools", f"{at}.name is {format_value(name)}, which is already declared")
    names.add(name)
    if description is not None and not isinstance(description, str):
        raise RowProblem("tools", f"{at}.description must be a string")
    if parameters is not None and not isinstance(parameters, dict):
        raise RowProblem("tools", f"{at}.parameters must be an object, a JSON Schema")
    return made


class ToolCallTracker:
    """Checks that every call is answered before the next turn, except those at the end."""

    def __init__(self, names: set[str] | None) -> None:
        self._names = names
        self._functions: dict[str, str] = {}
        """The function's name by the call's id."""
        self._unanswered: set[str] = set()
        self._legacy_calls = 0
        """The number of legacy function calls, which have no id."""

    def add_message(self, message: Message, at: str) -> Message:
        """Checks the tool fields of one message and returns them in the current form."""
        role, tool_calls, function_call = (message.get(key) for key in ("role", "tool_calls", "function_call"))
        answered = message.get("tool_call_id")
        if role == "tool":
            if not isinstance(answered, str) or answered not in self._functions:
                raise RowProblem(
                    "tool_answer", f"{at}.tool_call_id is {format_value(answered)}; no earlier call has that id"
                )
            self._unanswered.discard(answered)
            return {"tool_call_id": answered, "name": self._functions[answered]}
        if self._unanswered:
            raise RowProblem(
                "tool_answer", f"calls before {at} have no response: {format_value(min(self._unanswered))}"
            )
        if answered is not None:
            raise RowProblem("tool_answer", f"{at}.tool_call_id is only allowed on a message of role tool")
        if role == "function":
            if not isinstance(message.get("name"), str) or message["name"] == "":
                raise RowProblem("tool_answer", f"{at}.name must be the name of the called function")
            return {"role": "tool", "tool_call_id": f"call_{self._legacy_calls}"}
        if tool_calls is None and function_call is None:
            return {}
        if role != "assistant":
            raise RowProblem("tool_calls", f"{at} calls a function but is not an assistant message")
        made = []
        if function_call is not None:
            self._legacy_calls += 1
            made.append(self._call(function_call, f"call_{self._legacy_calls}", f"{at}.function_call"))
        if tool_calls is not None:
            if not isinstance(tool_calls, list) or not tool_calls:
                raise RowProblem("tool_calls", f"{at}.tool_calls must be a non-empty list")
            made += [self._tool_call(call, f"{at}.tool_calls[{i}]") for i, call in enumerate(tool_calls)]
        return {"tool_calls": made}

    def _tool_call(self, call: Any, at: str) -> dict[str, Any]:
        if not isinstance(call, dict):
            raise RowProblem("tool_calls", f"{at} must be an object")
        if call.get("type", "function") != "function":
            raise RowProblem("tool_calls", f'{at}.type must be "function"')
        call_id = call.get("id")
        if not isinstance(call_id, str) or call_id == "":
            raise RowProblem("tool_calls", f"{at}.id must be a string that the tool's response refers to")
        if call_id in self._functions:
            raise RowProblem("tool_calls", f"{at}.id is {format_value(call_id)}, which an earlier call already uses")
        made = self._call(call.get("function"), call_id, f"{at}.function")
        self._functions[call_id] = made["function"]["name"]
        self._unanswered.add(call_id)
        return made

    def _call(self, call: Any, call_id: str, at: str) -> dict[str, Any]:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise RowProblem("tool_calls", f"{at} must be an object with a name")
        if self._names is not None and call["name"] not in self._names:
            raise RowProblem("tool_calls", f"{at}.name is {format_value(call['name'])}, which the row does not declare")
        arguments = decode_arguments(call.get("arguments"))
        if isinstance(arguments, str):  # double-encoded, as some programs do
            arguments = decode_arguments(arguments)
        if not isinstance(arguments, dict):
            raise RowProblem("tool_calls", f"{at}.arguments must be the JSON text of an object")
        return {"id": call_id, "type": "function", "function": {"name": call["name"], "arguments": arguments}}
