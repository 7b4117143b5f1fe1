"""A conversation up to one answer: its tokens, the positions of its answers, and how it is truncated to fit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from .examples import IGNORED
from .json_rows import RowProblem
from .prefix_texts import PrefixTexts, common_prefix
from .rows import Conversation

if TYPE_CHECKING:
    from .rendering import Renderer

# Raised by Python or Jinja if a template cannot render the messages.
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True)
class Tokens:
    input_ids: list[int]
    labels: list[int]
    learned: frozenset[int]
    """The messages whose complete answers are trained on here."""
    prompt_mismatches: frozenset[int]


class ConversationPrefix:
    """A conversation up to one answer. Its oldest turns may be dropped."""

    def __init__(
        self, renderer: Renderer, conversation: Conversation, end: int, texts: PrefixTexts | None = None
    ) -> None:
        """`texts`: renders the whole conversation, once for all of its examples."""
        self._renderer, self._tools, self._end = renderer, conversation.tools, end
        self._messages = conversation.messages[:end]
        self._texts = {0: texts} if texts is not None else {}
        self._system = 1 if self._messages[0]["role"] == "system" else 0
        # A text may start at the beginning of the conversation, or at any later user turn.
        self._starts = [self._system] + [i for i in range(self._system + 1, end) if self._messages[i]["role"] == "user"]

    @property
    def starts(self) -> int:
        """The number of turns at which a text may start."""
        return len(self._starts)

    def tokens(self, start: int, wanted: Sequence[int]) -> Tokens:
        """The tokens from the `start`th possible turn on. The last answer is always trained on; of earlier ones, those
        in `wanted` that have the same context as at serving."""
        first = self._starts[start]
        kept = [*range(self._system), *range(first, self._end)]
        texts = self._from(start)
        text = self._text(texts, len(kept), False)
        if next_turn := self._renderer.next_turn_as_stop:
            text = text.rstrip("\n") + next_turn
        answers: dict[int, tuple[int, int]] = {}
        mismatched = set()
        for i in wanted:
            if i < first:
                continue
            span, matches = self._locate_answer(texts, self._system + i - first, i, text)
            if span is not None:
                answers[i] = self._with_stop(text, span)
                if not matches:
                    mismatched.add(i)
        return self._labelled(text, answers, frozenset(mismatched))

    def _labelled(self, text: str, answers: dict[int, tuple[int, int]], mismatched: frozenset[int]) -> Tokens:
        ids, offsets, same_tokens = self._renderer.encode(text, sorted(start for start, _ in answers.values()))
        answers = {i: span for i, span in answers.items() if span[0] in same_tokens}
        spans = sorted(answers.values())
        # In order of their starts; 0 before the first.
        starts, ends = [start for start, _ in spans], [0, *accumulate((end for _, end in spans), max)]
        labels = [
            token if begin < ends[bisect_right(starts, begin)] else IGNORED
            for token, (begin, _) in zip(ids, offsets, strict=True)
        ]
        return Tokens(ids, labels, frozenset(answers), mismatched & frozenset(answers))

    def _locate_answer(self, texts: PrefixTexts, before: int, i: int, text: str) -> tuple[tuple[int, int] | None, bool]:
        """The character span of message `i`'s answer in `text`, or None if the template changes it or what precedes
        it; and whether it follows the prompt used at serving. Raises RowProblem if the last answer has no span.

        `before`: how many messages of `texts` precede it."""
        last = i == self._end - 1
        after = self._text(texts, before + 1, False).rstrip("\n")
        if not text.startswith(after):
            return None, True
        start, matches = self._answer_offset(texts, before, i, after, last)
        if not matches and not last:
            return None, True
        if "tool_calls" in self._messages[i] and any(
            call["function"]["name"] not in text[start : len(after)] for call in self._messages[i]["tool_calls"]
        ):
            raise RowProblem(
                "template",
                f"calls a function in messages[{i}], but this base model's chat template does not show calls: choose a "
                "base model with tool support",
            )
        return (start, len(after)), matches

    def _with_stop(self, text: str, span: tuple[int, int]) -> tuple[int, int]:
        """With the token that starts the next turn, if generation stops at it."""
        start, end = span
        if self._renderer.next_turn_as_stop:
            following = [stop for stop in self._renderer.stop_texts if text.startswith(stop, end)]
            end += max(map(len, following), default=0)
        return start, end

    def _answer_offset(self, texts: PrefixTexts, before: int, i: int, after: str, last: bool) -> tuple[int, bool]:
        """Where an answer starts in the text that ends with it, and whether it follows the prompt used at serving."""
        try:
            prompt = texts.text(before, True)
        except TEMPLATE_ERRORS as error:
            if before:
                raise template_problem(error) from error
            prompt = None  # the assistant opens the conversation, so there is no prompt
        if prompt is not None and after.startswith(prompt):
            return len(prompt), True
        if prompt is not None and not last:
            return 0, False  # after a different prompt, only the last answer is trained on
        # The prompt has more text than the training text (such as an opening <think>), or there is none. The answer
        # starts where the texts of two different answers diverge.
        message = self._messages[i]
        other = {**message, "content": "\u2402" + message["content"]}
        start = common_prefix(after, self._renderer.text([*texts.messages[:before], other], self._tools, False))
        if prompt is not None:
            start = min(start, common_prefix(after, prompt))
        if start <= 0 or (before and start < len(self._text(texts, before, False).rstrip("\n"))):
            raise RowProblem(
                "template", f"has messages[{i}], but the chat template does not show where that answer starts"
            )
        return start, prompt is None

    def _from(self, start: int) -> PrefixTexts:
        """The rendered text from the `start`th possible turn on."""
        if start not in self._texts:
            kept = [*self._messages[: self._system], *self._messages[self._starts[start] :]]
            self._texts[start] = PrefixTexts(self._renderer, kept, self._tools)
        return self._texts[start]

    def _text(self, texts: PrefixTexts, count: int, prompt: bool) -> str:
        try:
            return texts.text(count, prompt)
        except TEMPLATE_ERRORS as error:
            raise template_problem(error) from error

    def shortened(self, wanted: Sequence[int], max_length: int, whole: Tokens) -> Tokens:
        """Tokens with as much history as fits, or else with only the end of the last answer's prompt."""
        found = {0: whole}

        def length(start: int) -> int:
            found[start] = self.tokens(start, wanted)
            return len(found[start].input_ids)

        first = first_that_fits(self.starts, lambda start: length(start) <= max_length)
        tokens = found[first] if first in found else self.tokens(first, wanted)
        over = len(tokens.input_ids) - max_length
        return self.without_start(tokens, over) if over > 0 else tokens

    def without_start(self, tokens: Tokens, cut: int) -> Tokens:
        """The tokens without the first `cut`, if the rest has the complete last answer and something before it."""
        last = len(tokens.labels)
        while last > 0 and tokens.labels[last - 1] == IGNORED:
            last -= 1
        while last > 0 and tokens.labels[last - 1] != IGNORED:
            last -= 1
        if last <= cut:
            return Tokens(tokens.input_ids, tokens.labels, frozenset(), frozenset())
        # Earlier answers may be cut, because they have their own examples.
        labels = [IGNORED] * (last - cut) + tokens.labels[last:]
        only = frozenset({self._end - 1})
        return Tokens(tokens.input_ids[cut:], labels, only, tokens.prompt_mismatches & only)


def template_problem(error: BaseException) -> RowProblem:
    reason = str(error)[:200] if isinstance(error, TemplateError) else f"it fails with {type(error).__name__}"
    advice = ""
    if "alternat" in reason.lower():
        advice = ". Merge consecutive turns of the same role"
    elif "system" in reason.lower():
        advice = ". Move the system message to the start of the first user turn"
    return RowProblem("template", f"is rejected by this base model's chat template: {reason}{advice}")


def first_that_fits(starts: int, fits: Callable[[int], bool]) -> int:
    """The first start, other than 0, that `fits`; the last one if none does."""
    # Fewer turns have fewer tokens.
    return bisect_left(range(starts - 1), True, lo=min(1, starts - 1), key=fits)
