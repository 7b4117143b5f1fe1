"""Renders each prefix of a conversation with the chat template, in a single pass if the template allows it.

Rendering every prefix separately takes time quadratic in the number of turns. Most templates are one loop over the
messages, followed by a constant. While such a template renders the whole conversation, `WatchedMessages` records how
much text it has emitted when it first reads each message. That text cannot depend on the message or on later ones, so
the rendering of the messages before it starts with the same text. What follows the loop is the same for every prefix if
it uses no variable that the template assigns.

If a template reads ahead (Qwen3 first searches for the newest question), each prefix is rendered separately, once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Template, nodes
from jinja2.runtime import LoopContext
from transformers.utils import chat_template_utils

if TYPE_CHECKING:
    from .json_rows import Message
    from .rendering import Renderer

# With fewer answers, a scan saves no time.
MIN_ANSWERS_TO_SCAN = 3


class PrefixTexts:
    """Renders the first messages of a conversation, with or without the generation prompt."""

    def __init__(self, renderer: Renderer, messages: Sequence[Message], tools: list[dict[str, Any]]) -> None:
        self._renderer, self.messages, self._tools = renderer, messages, tools
        self._whole = ""
        # By a prefix's number of messages: how many characters at the start of the whole text it shares.
        self._ends: list[int | None] = [None] * (len(messages) + 1)
        self._closing = {False: "", True: ""}
        self._rendered: dict[tuple[int, bool], tuple[int, str]] = {}
        if sum(message["role"] == "assistant" for message in messages) >= MIN_ANSWERS_TO_SCAN:
            self._scan()

    def text(self, count: int, prompt: bool) -> str:
        """The rendering of the first `count` messages. Raises TEMPLATE_ERRORS."""
        if (end := self._ends[count]) is not None:
            return self._whole[:end] + self._closing[prompt]
        if (count, prompt) not in self._rendered:
            text = self._renderer.text(self.messages[:count], self._tools, prompt)
            # Prefixes share most of their text. Storing it once keeps memory use linear, too.
            self._whole = self._whole or text
            shared = common_prefix(self._whole, text)
            self._rendered[count, prompt] = shared, text[shared:]
        shared, rest = self._rendered[count, prompt]
        return self._whole[:shared] + rest

    def _scan(self) -> None:
        """Renders the whole conversation and records where each prefix ends, if the template allows it."""
        renderer, tools = self._renderer, self._tools
        template = renderer.scannable_template(tools)
        if template is None:
            return
        try:
            whole = renderer.text(self.messages, tools, False)
            with_prompt = renderer.text(self.messages, tools, True)
            messages = WatchedMessages(renderer.template_messages(self.messages))
            watch = messages.watch
            for piece in template.generate(messages=messages, **renderer.template_context(tools)):
                watch.pieces.append(piece)
                watch.emitted += len(piece)
        except Exception:  # what the template rejects is reported when the prefix is rendered
            return
        end = watch.ends[-1]
        if "".join(watch.pieces) != whole or end is None or not with_prompt.startswith(whole[:end]):
            return
        self._whole, self._ends = whole, watch.ends
        self._ends[0] = None  # transformers renders no empty conversation
        self._closing = {False: whole[end:], True: with_prompt[end:]}


@lru_cache(maxsize=4)
def scannable(source: str) -> Template | None:
    """The compiled template, if it is one loop over the messages followed by text that does not depend on them."""
    template: Template = chat_template_utils._compile_jinja_template(source)
    tree = template.environment.parse(source)
    derived = _derived_from_messages(tree)
    if any(_names(macro) & derived for macro in tree.find_all(nodes.Macro)):
        return None
    found = _loop(tree.body, derived)
    if found is None:
        return None
    loop, closing = found
    if loop.else_ or any(_names(inner.iter) & derived for node in loop.body for inner in _loops(node)):
        return None
    assigned = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    assigned |= {macro.name for macro in tree.find_all(nodes.Macro)} | {"messages", "loop", "caller"}
    prompt = "add_generation_prompt"
    everywhere, at_end = _uses(tree, prompt), sum(_uses(node, prompt) for node in closing)
    # If it is used elsewhere, the generation prompt could change the text before it.
    if everywhere != at_end or any(_names(node) & assigned for node in closing):
        return None
    return template


def _names(node: nodes.Node) -> set[str]:
    found = {name.name for name in node.find_all(nodes.Name)}
    return found | {node.name} if isinstance(node, nodes.Name) else found


def _uses(node: nodes.Node, name: str) -> int:
    return sum(found.name == name for found in node.find_all(nodes.Name))


def _loops(node: nodes.Node) -> list[nodes.For]:
    return [*([node] if isinstance(node, nodes.For) else []), *node.find_all(nodes.For)]


def _derived_from_messages(tree: nodes.Template) -> set[str]:
    """The names of variables that may hold the messages."""
    derived = {"messages"}
    while True:
        found = {
            target.name
            for assign in tree.find_all(nodes.Assign)
            if _names(assign.node) & derived
            for target in (assign.target, *assign.target.find_all((nodes.Name, nodes.NSRef)))
            if isinstance(target, nodes.Name | nodes.NSRef)
        }
        if found <= derived:
            return derived
        derived |= found


def _loop(body: Sequence[nodes.Node], derived: set[str]) -> tuple[nodes.For, list[nodes.Node]] | None:
    """The first loop over messages, and the nodes that may be rendered after it."""
    for i, node in enumerate(body):
        following = list(body[i + 1 :])
        if isinstance(node, nodes.For) and _names(node.iter) & derived:
            return node, following
        if isinstance(node, nodes.If):
            branches = [node.body, *(branch.body for branch in node.elif_), node.else_]
            found = [loop for branch in branches if (loop := _loop(branch, derived)) is not None]
            if found:  # in several branches: including the others' ends only makes the check stricter
                closing = [one for _, closing in found for one in closing]
                others = [loop for loop, _ in found[1:]]
                return found[0][0], [*closing, *others, *following]
        elif any(_names(loop.iter) & derived for loop in _loops(node)):
            return None
    return None


class Watch:
    """How much text had been emitted when the template first read each message."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.emitted = 0
        self.pieces: list[str] = []
        self.loop: WatchedIterator | None = None
        """The template's loop over the messages."""
        self.ends: list[int | None] = [None] * (count + 1)

    def read(self, index: int, in_turn: bool) -> None:
        """Called when the template reads message `index`, or finds that there is none. `in_turn`: the loop over the
        messages advances to it; otherwise the previous message's text may depend on this one."""
        if index < self.seen:
            return
        if in_turn and index == self.seen:
            self.ends[index] = self.emitted
        self.seen = index + 1

    def read_all(self) -> None:
        self.read(self.count, False)


class WatchedMessages(Sequence[Any]):
    """Messages, or those from `start` on, that record which of them are read.

    Not a list, because C code reads a list without calling its methods. If a template uses an operation that this class
    lacks, rendering fails and the conversation is not scanned.
    """

    def __init__(self, items: list[Any], start: int = 0, watch: Watch | None = None) -> None:
        self._items, self._start = items, start
        self.watch = watch or Watch(len(items))

    def __len__(self) -> int:
        self.watch.read_all()
        return len(self._items) - self._start

    def __bool__(self) -> bool:
        self.watch.read(self._start, False)
        return self._start < len(self._items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and index >= 0:
            self.watch.read(min(self._start + index, len(self._items)), False)
            return self._items[self._start + index]
        if isinstance(index, slice) and (index.start or 0) >= 0 and index.stop is None and index.step in (None, 1):
            return WatchedMessages(self._items, min(self._start + (index.start or 0), len(self._items)), self.watch)
        self.watch.read_all()
        return self._items[self._start :][index]

    def __iter__(self) -> Iterator[Any]:
        return WatchedIterator(self._items, self._start, self.watch)


class WatchedIterator(Iterator[Any]):
    def __init__(self, items: list[Any], index: int, watch: Watch) -> None:
        self._items, self._index, self._watch = items, index, watch

    def __next__(self) -> Any:
        # A template's own loop reads from its root function, or through `loop`; `loop.last` and filters read ahead.
        code, watch = sys._getframe(1).f_code, self._watch
        in_turn = code.co_name == "root" or code is LoopContext.__next__.__code__
        if in_turn and watch.loop is None:
            watch.loop = self
        watch.read(self._index, in_turn and watch.loop is self)
        if self._index >= len(self._items):
            raise StopIteration
        self._index += 1
        return self._items[self._index - 1]


def common_prefix(one: str, other: str) -> int:
    """The length of the common prefix of two texts."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
