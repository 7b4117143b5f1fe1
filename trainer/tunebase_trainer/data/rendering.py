"""Renders conversations with the model's chat template, and decides which tokens are trained on.

At serving, the model gets the rendered messages so far, followed by a generation prompt. So an answer is trained on
only if the training text before it is exactly that, in the same tokens (`contexts.py`). This works for any template:
the messages before an answer and those up to its end are rendered (`prefix_texts.py`), and the whole text must start
with both. If a template renders an earlier turn differently than when it was the last one (Qwen3 drops the reasoning
before the newest question), or if the text after an answer changes its tokens, that answer gets its own example, which
ends with it, as at serving. Only those answers need a second example. Training on an earlier turn as the template
rewrites it would teach text that the model is never asked to generate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from jinja2 import Template
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from ..errors import TrainerError
from .contexts import ContextEncoder
from .conversation_prefix import TEMPLATE_ERRORS, ConversationPrefix, Tokens, first_that_fits
from .examples import Pair, Row
from .json_rows import Message
from .prefix_texts import PrefixTexts, scannable
from .rows import Conversation
from .stop_tokens import next_turn_as_stop, stop_tokens

CANARY = {"name": "canary_function", "arguments": {"canary_key": "canary_value"}}


ExampleT = TypeVar("ExampleT", Row, Pair)


@dataclass
class RenderResult(Generic[ExampleT]):
    """The examples of one conversation."""

    rows: list[ExampleT] = field(default_factory=list)
    truncated_tokens: int = 0
    """How many tokens of history or prompts were truncated."""
    too_long: int = 0
    """Skipped answers, which alone exceed max_length."""
    prompt_mismatches: int = 0
    """Answers before which the training text differs from the prompt at serving."""


class Renderer:
    """Renders conversations with a tokenizer's chat template. Raises TrainerError `no_chat_template` without one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.chat_template is None:
            raise TrainerError(
                "no_chat_template",
                "The base model has no chat template; it is not an instruct model.",
                "Choose an instruct model, or ask the operator to add a template.",
            )
        self._tokenizer = tokenizer
        self.encode = ContextEncoder(tokenizer).encode
        self.shows_calls, self._arguments_as_text, self._short_ids = self._probe_calls()
        self.shows_tools = self._probe_tools()
        self.next_turn_as_stop = next_turn_as_stop(self, tokenizer)
        stops, _ = stop_tokens(tokenizer)
        self.stop_texts = tuple(str(text) for text in tokenizer.convert_ids_to_tokens(sorted(stops)))

    @property
    def template_sha256(self) -> str:
        """The SHA-256 of the template's text. Serving must use the same template."""
        return hashlib.sha256(str(self._tokenizer.get_chat_template()).encode()).hexdigest()

    def text(self, messages: Sequence[Message], tools: list[dict[str, Any]], prompt: bool) -> str:
        """The template's rendering; with `prompt`, followed by the generation prompt."""
        return str(
            self._tokenizer.apply_chat_template(
                [self._for_template(message) for message in messages],
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        )

    def scannable_template(self, tools: list[dict[str, Any]]) -> Template | None:
        """The template for `PrefixTexts`, if it allows a scan."""
        return scannable(str(self._tokenizer.get_chat_template(tools=tools or None)))

    def template_messages(self, messages: Sequence[Message]) -> list[Any]:
        """The messages as transformers passes them to the template."""
        without_null = [
            {name: value for name, value in self._for_template(message).items() if value is not None}
            for message in messages
        ]
        plain: list[Any] = chat_template_utils._alias_reasoning_fields(
            chat_template_utils._plain_template_data(without_null)
        )
        return plain

    def template_context(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The other variables that transformers passes to the template, without a generation prompt."""
        return {
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": False,
            **self._tokenizer.special_tokens_map,
        }

    def rows(self, conversation: Conversation, max_length: int) -> RenderResult[Row]:
        """The examples of a conversation, newest first, each with at most `max_length` tokens. Raises RowProblem.

        Each trained answer is complete in one of them. To fit, history is truncated, oldest turns first.
        """
        result = RenderResult[Row]()
        left = sorted(conversation.learned)
        texts = PrefixTexts(self, conversation.messages[: left[-1] + 1], conversation.tools)
        while left:
            last = left[-1]
            prefix = ConversationPrefix(self, conversation, last + 1, texts)
            tokens = prefix.tokens(0, left)
            full = len(tokens.input_ids)
            if full > max_length:
                tokens = prefix.shortened(left, max_length, tokens)
            if last not in tokens.learned:
                result.too_long += 1
                left.pop()
                continue
            result.truncated_tokens += full - len(tokens.input_ids)
            result.prompt_mismatches += len(tokens.prompt_mismatches)
            result.rows.append(Row(tokens.input_ids, tokens.labels))
            left = [i for i in left if i not in tokens.learned]
        return result

    def pair(self, conversation: Conversation, max_length: int) -> RenderResult[Pair]:
        """A preference row as one Pair; no pair if it does not fit or if both answers are the same. Raises RowProblem.

        Both prompts are truncated equally, because answers can only be compared for the same prompt.
        """
        assert conversation.rejected is not None
        last = len(conversation.messages) - 1
        with_rejected = replace(conversation, messages=[*conversation.messages[:last], conversation.rejected])
        sides = [ConversationPrefix(self, side, last + 1) for side in (conversation, with_rejected)]

        def render_from(start: int) -> list[Tokens]:
            return [side.tokens(start, [last]) for side in sides]

        def length(found: list[Tokens]) -> int:
            return max(len(tokens.input_ids) for tokens in found)

        found = render_from(0)
        full = sum(len(tokens.input_ids) for tokens in found)
        if length(found) > max_length:
            starts = sides[0].starts
            found = render_from(first_that_fits(starts, lambda start: length(render_from(start)) <= max_length))
            if (over := length(found) - max_length) > 0:
                found = [side.without_start(tokens, over) for side, tokens in zip(sides, found, strict=True)]
        if not all(last in tokens.learned for tokens in found):
            return RenderResult(too_long=1)
        chosen, rejected = (Row(tokens.input_ids, tokens.labels) for tokens in found)
        if chosen == rejected:
            return RenderResult()
        cut = full - chosen.tokens - rejected.tokens
        return RenderResult([Pair(chosen, rejected)], cut, 0, int(last in found[0].prompt_mismatches))

    def _for_template(self, message: Message) -> Message:
        rendered = dict(message)
        if "tool_calls" in rendered:
            rendered["tool_calls"] = [self._call(call) for call in rendered["tool_calls"]]
        if self._short_ids and "tool_call_id" in rendered:
            rendered["tool_call_id"] = short_id(rendered["tool_call_id"])
        return rendered

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        """Passes arguments as objects, as transformers documents and as vLLM does, or as JSON text if the template does
        not accept objects."""
        function, arguments = call["function"], call["function"]["arguments"]
        if self._arguments_as_text:
            arguments = json.dumps(arguments, ensure_ascii=False)
        call_id = short_id(call["id"]) if self._short_ids else call["id"]
        return {**call, "id": call_id, "function": {**function, "arguments": arguments}}

    def _probe_tools(self) -> bool:
        """Whether the template shows the declared tools."""
        tool = {"name": "canary_function", "description": "x", "parameters": {"type": "object", "properties": {}}}
        try:
            shown = self.text([{"role": "user", "content": "x"}], [{"type": "function", "function": tool}], True)
        except TEMPLATE_ERRORS:
            return False
        return "canary_function" in shown

    def _probe_calls(self) -> tuple[bool, bool, bool]:
        """Whether the template shows calls, requires their arguments as text, and requires ids of nine characters."""
        for as_text, short in ((False, False), (False, True), (True, False), (True, True)):
            self._arguments_as_text, self._short_ids = as_text, short
            call = {"id": "call_1", "type": "function", "function": CANARY}
            messages: list[Message] = [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
            ]
            try:
                text = self.text(messages, [], False)
            except TEMPLATE_ERRORS:
                continue
            if "canary_function" not in text:
                return False, False, False
            if "'canary_key'" not in text:  # Python's repr of an object: it expected text
                return True, as_text, short
        return False, False, False


def short_id(call_id: str) -> str:
    """Nine letters and digits, as Mistral's templates require; the same for a call and its answer."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
