"""Rows held out of the training, to validate with."""

from __future__ import annotations

import math
import random

from .dataset import Row


def held_out(rows: int, share: float) -> int:
    """How many of `rows`; `supabase/functions/api/plan.ts` reckons the same."""
    return 0 if share == 0 else max(0, min(rows - 1, max(1, math.floor(rows * share))))


def split(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows to train on and those held out, both in the file's order; which ones follows from `seed`.

    One row out of each of equal parts of the rows sorted by length: so both sides hold short and long ones, and the
    tokens on each are their share but for the length of two rows at the most, which estimates rely on.
    """
    count = held_out(len(rows), share)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    choose = random.Random(seed)
    held = {
        by_length[choose.randrange(part * len(rows) // count, (part + 1) * len(rows) // count)] for part in range(count)
    }
    return (
        [row for index, row in enumerate(rows) if index not in held],
        [row for index, row in enumerate(rows) if index in held],
    )
