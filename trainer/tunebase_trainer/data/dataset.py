"""Reads a training file and turns it into tokens of which only the assistant's are learned.

What a file may hold: dataset_file.py and dataset_rows.py. How a conversation becomes tokens: rendering.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..errors import TrainerError
from . import row_source
from .rendering import IGNORED, Example, Pair, Renderer, RenderResult, Row
from .rows import FORMATS, PREFERENCE, PREFERENCES, Conversation, RowProblem, conversation, load

__all__ = ["IGNORED", "Dataset", "Example", "Pair", "Prompt", "Row", "read"]

MAX_PROBLEMS = 20
MAX_LINES_NAMED = 20
MAX_PROMPTS = 5


@dataclass(frozen=True)
class Prompt:
    """What the model is asked in one row's last answer, rendered, and the answer that the row gives."""

    line: int
    asked: str
    """The last user's words, for a person."""
    text: str
    expected: str


@dataclass
class Dataset:
    rows: list[Example] = field(default_factory=list)
    """Examples that can be learned from, at most max_length tokens each."""
    conversations: int = 0
    """ExampleDataset of the file that are learned from; where a template changes earlier turns, or one is longer than max_length,
    a conversation becomes several examples."""
    shortened: int = 0
    """ExampleDataset that lost history or the start of their prompt to fit."""
    truncated_tokens: int = 0
    """How many tokens those lost."""
    skipped: int = 0
    """ExampleDataset that had nothing to learn from."""
    too_long: list[int] = field(default_factory=list)
    """Lines with an answer that is longer than max_length by itself, and was left out."""
    prompt_mismatches: int = 0
    tools_unseen: int = 0
    """ExampleDataset that declare tools, which the template does not show to the model."""
    prompts: list[Prompt] = field(default_factory=list)
    template_sha256: str = ""

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def learned_tokens(self) -> int:
        return sum(label != IGNORED for row in self.rows for part in row.sequences for label in part.labels)

    def describe(self) -> str:
        """How much there is to learn from, in words."""
        rows = f"{self.conversations} rows"
        if len(self.rows) != self.conversations:
            rows += f" as {len(self.rows)} examples"
        return f"{rows}, {self.tokens} tokens, {self.learned_tokens} of them learned"

    def warnings(self, max_length: int) -> list[str]:
        """What a person should hear of it, in sentences."""
        said = []
        if self.shortened:
            said.append(
                f"{self.shortened} rows were longer than max_length = {max_length} tokens: {self.truncated_tokens} tokens of "
                "their oldest turns, or of the start of their prompts, were cut. Their answers are whole."
            )
        if self.too_long:
            said.append(
                f"{len(self.too_long)} answers are longer than max_length = {max_length} by themselves and are left "
                f"out ({_lines(self.too_long)}). A larger max_length keeps them."
            )
        if self.skipped:
            said.append(f"{self.skipped} rows have nothing to learn from and are left out.")
        if self.tools_unseen:
            said.append(
                f"{self.tools_unseen} rows declare tools, and the base model's chat template does not show them: the "
                "model learns without seeing them."
            )
        if self.prompt_mismatches:
            said.append(
                f"Before {self.prompt_mismatches} answers the base model's chat template writes more when it asks for an "
                "answer than when one is there: the model is asked in other words than it was trained on."
            )
        return said


def _lines(lines: list[int]) -> str:
    named = ", ".join(str(line) for line in lines[:MAX_LINES_NAMED])
    return f"line{'s' if len(lines) > 1 else ''} {named}{' …' if len(lines) > MAX_LINES_NAMED else ''}"


def read(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    what: str = "The training data",
    method: str = "supervised",
) -> Dataset:
    """Reads a file; `what` it is, for messages. Raises TrainerError `invalid_dataset` (with up to 20 lines, or of rows
    that are not for this `method`), `no_trainable_rows` or `no_chat_template`."""
    renderer = Renderer(tokenizer)
    data = Dataset(template_sha256=renderer.template_sha256)
    problems: list[str] = []
    kind: str | None = None
    try:
        for number, text in row_source.iter_rows(path):
            try:
                before, kind = kind, _add_row(data, renderer, number, text, kind, max_length)
                if before is None and kind is not None:
                    _check_method(kind, method, what)
            except RowProblem as problem:
                problems.append(f"line {number}: {problem}")
                if len(problems) == MAX_PROBLEMS:
                    break
    except row_source.FileProblem as problem:
        raise TrainerError("invalid_dataset", f"{what} {problem}.", problem.hint) from problem
    if problems:
        raise TrainerError(
            "invalid_dataset",
            f"{what} cannot be read: {'; '.join(problems)}",
            "Mend or leave out these rows. Each must be a JSON object on a line: "
            + (PREFERENCES if method == "dpo" else FORMATS),
        )
    if not data.rows:
        raise _no_trainable_rows(data, max_length, what)
    return data


def _check_method(kind: str, method: str, what: str) -> None:
    """Raises TrainerError `invalid_dataset` for rows that another method learns from."""
    if (kind == PREFERENCE) == (method == "dpo"):
        return
    if method == "dpo":
        said, hint = f'{what} has {kind} rows, and method "dpo" learns from preference rows.', PREFERENCES
        raise TrainerError("invalid_dataset", said, f'Use method "supervised", or rows that are {hint}')
    said = f'{what} has preference rows, and method "supervised" learns from one answer a row.'
    raise TrainerError("invalid_dataset", said, f'Use method "dpo", or rows that are {FORMATS}')


def _add_row(
    data: Dataset, renderer: Renderer, number: int, text: str, kind: str | None, max_length: int
) -> str | None:
    """Adds one row of the file; returns the file's format as far as it is known. Raises RowProblem."""
    row = load(text)
    if isinstance(row, dict) and row_source.META in row:
        row_source.check_meta(row[row_source.META], row_source.META)
        return kind
    found = conversation(row)
    if kind is not None and found.format != kind:
        raise RowProblem("mixed_formats", f"is a {found.format} row, and the rows before are {kind}")
    if not found.learned:
        data.skipped += 1
        return found.format
    made: RenderResult[Row] | RenderResult[Pair]
    made = renderer.pair(found, max_length) if found.rejected is not None else renderer.rows(found, max_length)
    data.too_long += [number] * made.too_long
    if made.rows:
        data.rows += [replace(row, line=number) for row in made.rows]
        data.conversations += 1
        data.shortened += made.truncated_tokens > 0
        data.truncated_tokens += made.truncated_tokens
        data.prompt_mismatches += made.prompt_mismatches
        data.tools_unseen += bool(found.tools) and not renderer.shows_tools
        if len(data.prompts) < MAX_PROMPTS:
            data.prompts += _prompt(renderer, found, number)
    elif not made.too_long:
        data.skipped += 1
    return found.format


def _prompt(renderer: Renderer, found: Conversation, number: int) -> list[Prompt]:
    last = max(found.learned)
    before, answer = found.messages[:last], found.messages[last]
    asked = next((message["content"] for message in reversed(before) if message["role"] == "user"), None)
    if asked is None:
        return []
    calls = [call["function"] for call in answer.get("tool_calls", [])]
    expected = answer["content"] + (f"{' ' if answer['content'] else ''}{calls}" if calls else "")
    return [Prompt(number, asked, renderer.text(before, found.tools, True), expected)]


def _no_trainable_rows(data: Dataset, max_length: int, what: str) -> TrainerError:
    if data.too_long:
        return TrainerError(
            "no_trainable_rows",
            f"{what} has only answers that are longer than max_length = {max_length} tokens ({_lines(data.too_long)}).",
            f"Use a larger max_length, such as {2 * max_length}, or shorter answers.",
        )
    return TrainerError(
        "no_trainable_rows",
        f"{what} has no row to learn from ({data.skipped} rows have no answer, or only some of weight 0).",
        f"Each row needs an assistant message, or two answers that differ: {FORMATS}",
    )
