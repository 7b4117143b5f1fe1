"""A conversation in the model's own chat template, and which of its tokens are learned.

What a model is asked at serving is the template's rendering of the messages so far, with the prompt for an answer. So
an answer is learned where the training text begins with exactly that. The method knows no template: it renders the
messages before an answer and those up to its end, and looks whether the whole text begins with both. A template that
renders an earlier turn otherwise than it was when it was the last one (Qwen3 leaves out what was thought before the
newest question) gives that answer an example of its own, which ends with it: as it will be asked for. Only those
answers cost a second example; learning from an earlier turn as the template rewrites it would teach what the model is
never asked to write.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Generic, TypeVar

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from ..errors import TrainerError
from .rows import Conversation, Message, RowProblem

IGNORED = -100  # the label of a token that is not learned, as torch's cross entropy has it

# What Python or Jinja raises of a template that does not do for these messages.
REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)
CANARY = {"name": "canary_function", "arguments": {"canary_key": "canary_value"}}


@dataclass(frozen=True)
class Row:
    """Token ids and their labels, of one length; a label is the token's id or IGNORED."""

    input_ids: list[int]
    labels: list[int]
    line: int = 0
    """The line of the file. Examples of one line are of one conversation: a split of the rows keeps them together."""

    @property
    def sequences(self) -> tuple[Row, ...]:
        """What goes through the model for this example."""
        return (self,)

    @property
    def length(self) -> int:
        """Of the longest sequence."""
        return len(self.input_ids)

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return len(self.input_ids)

    def padding_example(self) -> Row:
        """As an example of which nothing is learned."""
        return Row(self.input_ids[:1], [IGNORED])


@dataclass(frozen=True)
class Pair:
    """One prompt with two answers, the better first. Both go through the model, in the same batch."""

    chosen: Row
    rejected: Row
    line: int = 0
    reference: tuple[float, float] | None = None
    """The log-probability of each answer before the first step, once it is known; see preference.py."""

    @property
    def sequences(self) -> tuple[Row, ...]:
        return (self.chosen, self.rejected)

    @property
    def length(self) -> int:
        return max(self.chosen.length, self.rejected.length)

    @property
    def tokens(self) -> int:
        return self.chosen.tokens + self.rejected.tokens

    def padding_example(self) -> Pair:
        return Pair(self.chosen.padding_example(), self.rejected.padding_example(), reference=(0.0, 0.0))


Example = Row | Pair


ExampleT = TypeVar("ExampleT", Row, Pair)


@dataclass
class RenderResult(Generic[ExampleT]):
    """What became of one conversation."""

    rows: list[ExampleT] = field(default_factory=list)
    truncated_tokens: int = 0
    """How many tokens of history or prompts were left out to fit."""
    too_long: int = 0
    """Answers that are longer than max_length by themselves, and are left out."""
    prompt_mismatches: int = 0
    """Answers before which the training text differs from what the model is asked at serving."""


class Renderer:
    """Renders conversations with a tokenizer's chat template. Raises TrainerError `no_chat_template` without one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.chat_template is None:
            raise TrainerError(
                "no_chat_template",
                "The base model has no chat template: it is not an instruct model.",
                "Choose an instruct model, or ask the operator of this service to add a template.",
            )
        self._tokenizer = tokenizer
        self.shows_calls, self._arguments_as_text, self._short_ids = self._probe_calls()
        self.shows_tools = self._probe_tools()

    @property
    def template_sha256(self) -> str:
        """Of the template's text, which serving must have, too."""
        return hashlib.sha256(str(self._tokenizer.get_chat_template()).encode()).hexdigest()

    def text(self, messages: Sequence[Message], tools: list[dict[str, Any]], prompt: bool) -> str:
        """The template's rendering; with `prompt`, as the model is asked for the next answer."""
        return str(
            self._tokenizer.apply_chat_template(
                [self._for_template(message) for message in messages],
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        )

    def rows(self, conversation: Conversation, max_length: int) -> RenderResult[Row]:
        """The examples of a conversation, newest first, each with at most `max_length` tokens. Raises RowProblem.

        Each learned answer is in one of them, whole. What does not fit is history, the oldest turns first.
        """
        done = RenderResult[Row]()
        left = sorted(conversation.learned)
        while left:
            last = left[-1]
            part = ConversationPrefix(self, conversation, last + 1)
            tokens = part.tokens(0, left)
            full = len(tokens.input_ids)
            if full > max_length:
                tokens = part.shortened(left, max_length, tokens)
            if last not in tokens.learned:
                done.too_long += 1
                left.pop()
                continue
            done.truncated_tokens += full - len(tokens.input_ids)
            done.prompt_mismatches += len(tokens.prompt_mismatches)
            done.rows.append(Row(tokens.input_ids, tokens.labels))
            left = [i for i in left if i not in tokens.learned]
        return done

    def pair(self, conversation: Conversation, max_length: int) -> RenderResult[Pair]:
        """A preference row as one Pair; as none if it does not fit, or both answers are the same. Raises RowProblem.

        What is cut is cut from both prompts: two answers are compared where the question is the same.
        """
        assert conversation.rejected is not None
        last = len(conversation.messages) - 1
        worse = replace(conversation, messages=[*conversation.messages[:last], conversation.rejected])
        sides = [ConversationPrefix(self, side, last + 1) for side in (conversation, worse)]

        def beginning(start: int) -> list[Tokens]:
            return [side.tokens(start, [last]) for side in sides]

        def length(found: list[Tokens]) -> int:
            return max(len(tokens.input_ids) for tokens in found)

        found = beginning(0)
        full = sum(len(tokens.input_ids) for tokens in found)
        if length(found) > max_length:
            starts = sides[0].starts
            found = beginning(first_that_fits(starts, lambda start: length(beginning(start)) <= max_length))
            if (over := length(found) - max_length) > 0:
                found = [side.without_start(tokens, over) for side, tokens in zip(sides, found, strict=True)]
        if not all(last in tokens.learned for tokens in found):
            return RenderResult(too_long=1)
        chosen, rejected = (Row(tokens.input_ids, tokens.labels) for tokens in found)
        if chosen == rejected:
            return RenderResult()
        cut = full - chosen.tokens - rejected.tokens
        return RenderResult([Pair(chosen, rejected)], cut, 0, int(last in found[0].prompt_mismatches))

    def encode(self, text: str, answers: Sequence[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and the characters that each stands for. No token reaches over an answer's beginning: at serving
        the prompt is encoded alone, and the model's first token begins where the answer does."""
        ids, offsets = self._encode(text, 0)
        for start, _ in answers:
            if any(begin < start < end for begin, end in offsets):
                cuts = [0, *(start for start, _ in answers), len(text)]
                ids, offsets = [], []
                for begin, end in pairwise(cuts):
                    more, places = self._encode(text[begin:end], begin)
                    ids += more
                    offsets += places
                break
        return ids, offsets

    def _encode(self, text: str, at: int) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [(at + begin, at + end) for begin, end in encoded["offset_mapping"]]

    def _for_template(self, message: Message) -> Message:
        made = dict(message)
        if "tool_calls" in made:
            made["tool_calls"] = [self._call(call) for call in made["tool_calls"]]
        if self._short_ids and "tool_call_id" in made:
            made["tool_call_id"] = short_id(made["tool_call_id"])
        return made

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        """Arguments are given as objects, as transformers' documentation asks and vLLM does; as JSON text only to a
        template that takes no object."""
        function, arguments = call["function"], call["function"]["arguments"]
        if self._arguments_as_text:
            arguments = json.dumps(arguments, ensure_ascii=False)
        call_id = short_id(call["id"]) if self._short_ids else call["id"]
        return {**call, "id": call_id, "function": {**function, "arguments": arguments}}

    def _probe_tools(self) -> bool:
        """Does the template show what may be called?"""
        tool = {"name": "canary_function", "description": "x", "parameters": {"type": "object", "properties": {}}}
        try:
            shown = self.text([{"role": "user", "content": "x"}], [{"type": "function", "function": tool}], True)
        except REFUSALS:
            return False
        return "canary_function" in shown

    def _probe_calls(self) -> tuple[bool, bool, bool]:
        """How the template takes calls: does it show them, are arguments texts, must ids have nine characters."""
        for as_text, short in ((False, False), (False, True), (True, False), (True, True)):
            self._arguments_as_text, self._short_ids = as_text, short
            call = {"id": "call_1", "type": "function", "function": CANARY}
            messages: list[Message] = [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
            ]
            try:
                text = self.text(messages, [], False)
            except REFUSALS:
                continue
            if "canary_function" not in text:
                return False, False, False
            if "'canary_key'" not in text:  # Python's notation: it wanted a text
                return True, as_text, short
        return False, False, False


def short_id(call_id: str) -> str:
    """Nine letters and figures, as Mistral's templates insist; the same for the call and its answer."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


@dataclass(frozen=True)
class Tokens:
    input_ids: list[int]
    labels: list[int]
    learned: frozenset[int]
    """The messages whose answers are learned in it, whole."""
    prompt_mismatches: frozenset[int]


class ConversationPrefix:
    """A conversation up to one answer, of which the oldest turns may be left out."""

    def __init__(self, renderer: Renderer, conversation: Conversation, end: int) -> None:
        self._renderer, self._tools, self._end = renderer, conversation.tools, end
        self._messages = conversation.messages[:end]
        self._system = 1 if self._messages[0]["role"] == "system" else 0
        # A text may begin with the conversation, or after it with a user's turn.
        self._starts = [self._system] + [i for i in range(self._system + 1, end) if self._messages[i]["role"] == "user"]

    @property
    def starts(self) -> int:
        """How many places there are at which a text may begin."""
        return len(self._starts)

    def tokens(self, start: int, wanted: Sequence[int]) -> Tokens:
        """Without the turns before the `start`th that a text may begin with. The last answer is always learned, those
        before it that are `wanted` where they stand as they will at serving."""
        first = self._starts[start]
        kept = [*range(self._system), *range(first, self._end)]
        text = self._text(kept, False)
        answers: dict[int, tuple[int, int]] = {}
        unlike = set()
        for i in wanted:
            if i < first:
                continue
            place, like = self._locate_answer(kept[: kept.index(i)], i, text)
            if place is not None:
                answers[i] = place
                if not like:
                    unlike.add(i)
        return self._labelled(text, answers, frozenset(unlike))

    def _labelled(self, text: str, answers: dict[int, tuple[int, int]], unlike: frozenset[int]) -> Tokens:
        places = sorted(answers.values())
        ids, offsets = self._renderer.encode(text, places)
        labels = [
            token if any(start <= begin < end for start, end in places) else IGNORED
            for token, (begin, _) in zip(ids, offsets, strict=True)
        ]
        return Tokens(ids, labels, frozenset(answers), unlike)

    def _locate_answer(self, before: list[int], i: int, text: str) -> tuple[tuple[int, int] | None, bool]:
        """Where the answer of message `i` stands in `text`, or None where the template changes it or what is before it;
        and whether it stands there as at serving. The part's last answer has a place, or RowProblem is raised."""
        last = i == self._end - 1
        after = (text if last else self._text([*before, i], False)).rstrip("\n")
        if not text.startswith(after):
            return None, True
        start, like = self._start(before, i, after)
        if not like and not last:
            return None, True
        if "tool_calls" in self._messages[i] and any(
            call["function"]["name"] not in text[start : len(after)] for call in self._messages[i]["tool_calls"]
        ):
            raise RowProblem(
                "template",
                f"calls a function in messages[{i}], and this base model's chat template does not show calls: choose a "
                "base model that was made for tools",
            )
        return (start, len(after)), like

    def _start(self, before: list[int], i: int, after: str) -> tuple[int, bool]:
        """Where an answer begins in the text that it ends, and whether all before is what serving will ask."""
        try:
            prompt = self._renderer.text([self._messages[j] for j in before], self._tools, True)
        except REFUSALS as error:
            if before:
                raise refused(error) from error
            prompt = None  # a conversation that an assistant opens: nobody asks for that, so there is no prompt
        if prompt is not None and after.startswith(prompt):
            return len(prompt), True
        # The prompt has more than the training text (an opened <think>), or there is none: an answer begins where the
        # texts of two different answers part.
        message = self._messages[i]
        other = {**message, "content": "\u2402" + message["content"]}
        start = common(after, self._renderer.text([*(self._messages[j] for j in before), other], self._tools, False))
        if prompt is not None:
            start = min(start, common(after, prompt))
        if start <= 0 or (before and start < len(self._text(before, False).rstrip("\n"))):
            raise RowProblem(
                "template", f"has messages[{i}], and the chat template does not say where that answer begins"
            )
        return start, prompt is None

    def _text(self, kept: list[int], prompt: bool) -> str:
        try:
            return self._renderer.text([self._messages[i] for i in kept], self._tools, prompt)
        except REFUSALS as error:
            raise refused(error) from error

    def shortened(self, wanted: Sequence[int], max_length: int, whole: Tokens) -> Tokens:
        """With as much of its history as fits; failing that, with the end of the prompt before its last answer."""
        found = {0: whole}

        def length(start: int) -> int:
            found[start] = self.tokens(start, wanted)
            return len(found[start].input_ids)

        first = first_that_fits(self.starts, lambda start: length(start) <= max_length)
        tokens = found[first] if first in found else self.tokens(first, wanted)
        over = len(tokens.input_ids) - max_length
        return self.without_start(tokens, over) if over > 0 else tokens

    def without_start(self, tokens: Tokens, cut: int) -> Tokens:
        """Without the first `cut` tokens, if the last answer is whole in the rest and something stands before it."""
        last = len(tokens.labels)
        while last > 0 and tokens.labels[last - 1] == IGNORED:
            last -= 1
        while last > 0 and tokens.labels[last - 1] != IGNORED:
            last -= 1
        if last <= cut:
            return Tokens(tokens.input_ids, tokens.labels, frozenset(), frozenset())
        # Answers before it may be cut: they are learned in examples of their own.
        labels = [IGNORED] * (last - cut) + tokens.labels[last:]
        only = frozenset({self._end - 1})
        return Tokens(tokens.input_ids[cut:], labels, only, tokens.prompt_mismatches & only)


def refused(error: BaseException) -> RowProblem:
    said = str(error)[:200] if isinstance(error, TemplateError) else f"it fails with {type(error).__name__}"
    advice = ""
    if "alternat" in said.lower():
        advice = ". Join two turns of one role in a row to one"
    elif "system" in said.lower():
        advice = ". Write what the system message says at the beginning of the first user's turn"
    return RowProblem("template", f"is refused by this base model's chat template: {said}{advice}")


def first_that_fits(starts: int, fits: Callable[[int], bool]) -> int:
    """The first of so many starts, but for the very first, which `fits`; the last one if none does."""
    # Fewer turns are fewer tokens.
    return bisect_left(range(starts - 1), True, lo=min(1, starts - 1), key=fits)


def common(one: str, other: str) -> int:
    """How many characters two texts share at their beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
