"""Reads a training file and tokenizes it. Only the assistant's tokens are trained on.

row_source.py and rows.py read the file formats, rendering.py turns a conversation into tokens, and rendered_rows.py
does so in several processes.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..errors import TrainerError
from ..text import counted
from . import row_source
from .examples import IGNORED, Example, Pair, Row
from .json_rows import load
from .rendered_rows import RenderedRow, processes_for, render_rows
from .rendering import Renderer
from .rows import FORMATS, PREFERENCE, PREFERENCES, Conversation, conversation

__all__ = ["IGNORED", "Dataset", "Example", "Pair", "Prompt", "Row", "read", "read_prompts"]

MAX_PROBLEMS = 20
MAX_LINES_NAMED = 20


@dataclass(frozen=True)
class Prompt:
    """The rendered prompt of one row's last answer, and that answer."""

    line: int
    question: str
    """The last user message, for display."""
    text: str
    expected: str
    is_comparable: bool = True
    """Whether the model should generate exactly `expected`. False for tool calls, whose form depends on the template,
    and for preferred answers, which are only better than the alternative."""


@dataclass
class Dataset:
    rows: list[Example] = field(default_factory=list)
    """Training examples of at most max_length tokens each."""
    conversations: int = 0
    """Rows of the file that are trained on. A conversation becomes several examples if the template changes earlier
    turns, or if it is longer than max_length."""
    truncated: int = 0
    """Rows whose history or start of the prompt was truncated."""
    truncated_tokens: int = 0
    """The number of tokens that were truncated."""
    skipped: int = 0
    """Rows without trainable tokens."""
    too_long: list[int] = field(default_factory=list)
    """Lines with an answer that was skipped because it alone exceeds max_length."""
    prompt_mismatches: int = 0
    """Answers before which the training text differs from the prompt at serving."""
    tools_unseen: int = 0
    """Rows with tools that the template does not show to the model."""
    template_sha256: str = ""

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def learned_tokens(self) -> int:
        return sum(label != IGNORED for row in self.rows for part in row.sequences for label in part.labels)

    def describe(self) -> str:
        """The amount of data as text."""
        rows = counted(self.conversations, "row")
        if len(self.rows) != self.conversations:
            rows += f" as {counted(len(self.rows), 'example')}"
        return f"{rows}, {counted(self.tokens, 'token')}, {self.learned_tokens} of them learned"

    def warnings(self, max_length: int) -> list[str]:
        """Warnings for the user, as sentences."""
        warnings = []
        if self.truncated:
            warnings.append(
                f"Truncated {counted(self.truncated, 'row')} longer than max_length = {max_length} tokens: "
                f"removed {counted(self.truncated_tokens, 'token')} from the oldest turns or the start of prompts. "
                "The answers are complete."
            )
        if self.too_long:
            count = len(self.too_long)
            warnings.append(
                f"Skipped {counted(count, 'answer')} longer than max_length = {max_length} tokens "
                f"({_lines(self.too_long)}). A larger max_length keeps {'it' if count == 1 else 'them'}."
            )
        if self.skipped:
            warnings.append(f"Skipped {counted(self.skipped, 'row')} with no trainable tokens.")
        if self.tools_unseen:
            declare = "declares" if self.tools_unseen == 1 else "declare"
            warnings.append(
                f"{counted(self.tools_unseen, 'row')} {declare} tools that the base model's chat template does not "
                "show: the model learns without seeing them."
            )
        if self.prompt_mismatches:
            warnings.append(
                f"Before {counted(self.prompt_mismatches, 'answer')} the training text differs from the prompt at "
                "serving: the base model's chat template adds text to the prompt."
            )
        return warnings


def _lines(lines: list[int]) -> str:
    named = ", ".join(str(line) for line in lines[:MAX_LINES_NAMED])
    return f"line{'s' if len(lines) > 1 else ''} {named}{' …' if len(lines) > MAX_LINES_NAMED else ''}"


def read(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    what: str = "The training data",
    method: str = "supervised",
    processes: int | None = None,
) -> Dataset:
    """Reads a file; `what` names it in messages. `processes` processes render it (default: chosen by the file's size).

    Raises TrainerError `invalid_dataset` (with up to 20 lines, or for rows of another `method`), `no_trainable_rows`
    or `no_chat_template`.
    """
    renderer = Renderer(tokenizer)
    data = Dataset(template_sha256=renderer.template_sha256)
    problems: list[str] = []
    kind: str | None = None
    processes = processes if processes is not None else processes_for(path)
    try:
        with closing(render_rows(renderer, path, max_length, processes)) as rows:
            for row in rows:
                problem = _problem(row, kind)
                if row.other_format:
                    message = f"{what} is invalid: line {row.line}: {problem}"
                    raise TrainerError("invalid_dataset", message, row_source.CONVERT)
                if problem is not None:
                    problems.append(f"line {row.line}: {problem}")
                    if len(problems) == MAX_PROBLEMS:
                        break
                elif row.format is not None:
                    if kind is None:
                        _check_method(row.format, method, what)
                    kind = row.format
                    _add_row(data, row)
    except row_source.FileProblem as invalid:
        raise TrainerError("invalid_dataset", f"{what} {invalid}.", invalid.hint) from invalid
    if problems:
        raise TrainerError(
            "invalid_dataset",
            f"{what} is invalid: {'; '.join(problems)}",
            "Fix or remove these rows. Each line must be a JSON object: "
            + (PREFERENCES if method == "dpo" else FORMATS),
        )
    if not data.rows:
        raise _no_trainable_rows(data, max_length, what)
    return data


def read_prompts(path: Path, tokenizer: PreTrainedTokenizerBase, lines: Collection[int]) -> dict[int, Prompt]:
    """The prompts of these lines of a file that `read` has accepted. A row without a prompt is omitted."""
    renderer, wanted = Renderer(tokenizer), set(lines)
    prompts: dict[int, Prompt] = {}
    for number, text in row_source.iter_rows(path):
        if number in wanted and (prompt := _prompt(renderer, conversation(load(text)), number)) is not None:
            prompts[number] = prompt
    return prompts


def _check_method(kind: str, method: str, what: str) -> None:
    """Raises TrainerError `invalid_dataset` for rows of another method."""
    if (kind == PREFERENCE) == (method == "dpo"):
        return
    if method == "dpo":
        message = f'{what} has {kind} rows, but method "dpo" needs preference rows.'
        raise TrainerError("invalid_dataset", message, f'Use method "supervised", or rows of the form {PREFERENCES}')
    message = f'{what} has preference rows, but method "supervised" needs one answer per row.'
    raise TrainerError("invalid_dataset", message, f'Use method "dpo", or rows of the form {FORMATS}')


def _problem(row: RenderedRow, kind: str | None) -> str | None:
    """The problem with a row in a file whose previous rows have the format `kind`, or None."""
    if kind is not None and row.format is not None and row.format != kind:
        return f"is a {row.format} row, but the previous rows are {kind}"
    return row.problem


def _add_row(data: Dataset, row: RenderedRow) -> None:
    if row.result is None:
        data.skipped += 1
        return
    data.too_long += [row.line] * row.result.too_long
    if row.result.rows:
        data.rows += [replace(example, line=row.line) for example in row.result.rows]
        data.conversations += 1
        data.truncated += row.result.truncated_tokens > 0
        data.truncated_tokens += row.result.truncated_tokens
        data.prompt_mismatches += row.result.prompt_mismatches
        data.tools_unseen += row.tools_unseen
    elif not row.result.too_long:
        data.skipped += 1


def _prompt(renderer: Renderer, parsed: Conversation, number: int) -> Prompt | None:
    last = max(parsed.learned)
    previous, answer = parsed.messages[:last], parsed.messages[last]
    question = next((message["content"] for message in reversed(previous) if message["role"] == "user"), None)
    if question is None:
        return None
    calls = [call["function"] for call in answer.get("tool_calls", [])]
    expected = answer["content"] + (f"{' ' if answer['content'] else ''}{calls}" if calls else "")
    is_comparable = not calls and parsed.rejected is None
    return Prompt(number, question, renderer.text(previous, parsed.tools, True), expected, is_comparable)


def _no_trainable_rows(data: Dataset, max_length: int, what: str) -> TrainerError:
    if data.too_long:
        return TrainerError(
            "no_trainable_rows",
            f"{what} has only answers longer than max_length = {max_length} tokens ({_lines(data.too_long)}).",
            f"Use a larger max_length, such as {2 * max_length}, or shorter answers.",
        )
    return TrainerError(
        "no_trainable_rows",
        f"{what} has no trainable rows: none of {counted(data.skipped, 'row')} has an answer to train on (answers with "
        "weight 0 are skipped).",
        f"Each row needs an assistant message, or two different answers: {FORMATS}",
    )
