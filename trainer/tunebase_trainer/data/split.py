"""ExampleDataset held out of the training, to validate with."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

from .dataset import Dataset


def held_out(rows: int, share: float) -> int:
    """How many of `rows`; `supabase/functions/tunebase/jobs/plan.ts` reckons the same."""
    return 0 if share == 0 else max(0, min(rows - 1, max(1, math.floor(rows * share))))


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """What to train on and what is held out of it, both in the file's order; which rows follows from `seed`.

    Examples of one row of the file stay together. One row out of each of equal parts of the rows sorted by length: so
    both sides hold short and long ones, and the tokens on each are their share but for the length of two rows at the
    most, which estimates rely on.
    """
    lengths: dict[int, int] = {}
    for row in data.rows:
        lengths[row.line] = lengths.get(row.line, 0) + row.tokens
    count = held_out(len(lengths), share)
    if count == 0:
        return data, None
    by_length = sorted(lengths, key=lambda line: (lengths[line], line))
    choose, parts = random.Random(seed), [part * len(by_length) // count for part in range(count + 1)]
    held = {by_length[choose.randrange(start, end)] for start, end in pairwise(parts)}

    def side(inside: bool) -> Dataset:
        return replace(
            data,
            rows=[row for row in data.rows if (row.line in held) == inside],
            conversations=count if inside else len(lengths) - count,
            prompts=[prompt for prompt in data.prompts if (prompt.line in held) == inside],
        )

    # What was cut or left out of the file is told once, of what is trained on.
    once = replace(
        side(True), shortened=0, truncated_tokens=0, skipped=0, prompt_mismatches=0, tools_unseen=0, too_long=[]
    )
    return side(False), once
