"""Holds out rows for validation."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

from .dataset import Dataset


def held_out(rows: int, share: float) -> int:
    """How many of `rows` to hold out; `_shared/contracts/held_out.ts` computes the same."""
    return 0 if share == 0 else max(0, min(rows - 1, max(1, math.floor(rows * share))))


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and the held-out rows, both in file order; `seed` determines which.

    Examples of one row stay together. The rows are sorted by length and divided into equal parts, and one row of each
    part is held out. So both sides have short and long rows, and the tokens on each side differ from their share by at
    most the length of two rows, which estimates rely on.
    """
    lengths: dict[int, int] = {}
    for row in data.rows:
        lengths[row.line] = lengths.get(row.line, 0) + row.tokens
    count = held_out(len(lengths), share)
    if count == 0:
        return data, None
    by_length = sorted(lengths, key=lambda line: (lengths[line], line))
    generator, parts = random.Random(seed), [part * len(by_length) // count for part in range(count + 1)]
    held = {by_length[generator.randrange(start, end)] for start, end in pairwise(parts)}

    def side(inside: bool) -> Dataset:
        return replace(
            data,
            rows=[row for row in data.rows if (row.line in held) == inside],
            conversations=count if inside else len(lengths) - count,
        )

    # What was truncated or skipped in the file is reported once, for the rows to train on.
    validation = replace(
        side(True), truncated=0, truncated_tokens=0, skipped=0, prompt_mismatches=0, tools_unseen=0, too_long=[]
    )
    return side(False), validation
