"""Tokenizes the rows of a training file, in order. Several processes render large files.

One core takes minutes for 100 million tokens, while you pay for an idle GPU. Threads would not help: a tokenizer
releases the GIL, but templates and labels take most of the time. Of 13 seconds of CPU time for 3,000 rows, the process
that collects the rows took half a second, and the total was the same with and without a pool (measured).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from ..model import distributed
from ..parent_death import set_parent_death_signal
from . import row_source
from .examples import Pair, Row
from .json_rows import RowProblem, load
from .rendering import Renderer, RenderResult
from .rows import OtherFormat, conversation

PARALLEL_BYTES = 8 * 2**20
"""A smaller file is rendered before starting a pool pays off."""
MAX_PROCESSES = 8
ROWS_PER_TASK = 32
TASKS_PER_PROCESS = 4
"""The maximum number of rows in memory, rendered or waiting, so that a file is never in memory as a whole."""


@dataclass(frozen=True)
class RenderedRow:
    """One tokenized row, or its problem."""

    line: int
    format: str | None = None
    """None for a header, or for a row that cannot be read."""
    result: RenderResult[Row] | RenderResult[Pair] | None = None
    """None if the row has no trainable tokens."""
    tools_unseen: bool = False
    """The row declares tools that the template does not show."""
    problem: str | None = None
    other_format: bool = False
    """The row is in a format that only the server converts."""


def processes_for(path: Path) -> int:
    """How many processes render a file. Several ranks share this machine's cores."""
    if path.stat().st_size < PARALLEL_BYTES:
        return 1
    return max(1, min(MAX_PROCESSES, len(os.sched_getaffinity(0)) // distributed.world_size()))


def render_rows(renderer: Renderer, path: Path, max_length: int, processes: int) -> Generator[RenderedRow]:
    """Every row of a file, in its order. Raises FileProblem."""
    rows = row_source.iter_rows(path)
    if processes == 1:
        for line, text in rows:
            yield render_row(renderer, line, text, max_length)
        return
    # Forked before this process uses CUDA, so that the children inherit the tokenizer, which takes seconds to load.
    pool = ProcessPoolExecutor(
        processes, get_context("fork"), initializer=_start_process, initargs=(renderer, max_length)
    )
    pending: deque[Future[list[RenderedRow]]] = deque()
    with pool:
        try:
            while batch := list(islice(rows, ROWS_PER_TASK)):
                pending.append(pool.submit(_render_batch, batch))
                if len(pending) == TASKS_PER_PROCESS * processes:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:  # too many problems: the reader has stopped
            for task in pending:
                task.cancel()


def render_row(renderer: Renderer, line: int, text: str, max_length: int) -> RenderedRow:
    try:
        row = load(text)
        if isinstance(row, dict) and row_source.META in row:
            row_source.check_meta(row[row_source.META], row_source.META)
            return RenderedRow(line)
        parsed = conversation(row)
    except RowProblem as problem:
        return RenderedRow(line, problem=str(problem), other_format=isinstance(problem, OtherFormat))
    if not parsed.learned:
        return RenderedRow(line, parsed.format)
    try:
        result: RenderResult[Row] | RenderResult[Pair]
        result = renderer.rows(parsed, max_length) if parsed.rejected is None else renderer.pair(parsed, max_length)
    except RowProblem as problem:
        return RenderedRow(line, parsed.format, problem=str(problem))
    return RenderedRow(line, parsed.format, result, bool(parsed.tools) and not renderer.shows_tools)


_settings: tuple[Renderer, int] | None = None
"""The renderer of this pool process."""


def _start_process(renderer: Renderer, max_length: int) -> None:
    global _settings
    set_parent_death_signal()
    _settings = renderer, max_length


def _render_batch(rows: list[tuple[int, str]]) -> list[RenderedRow]:
    assert _settings is not None
    renderer, max_length = _settings
    return [render_row(renderer, line, text, max_length) for line, text in rows]
