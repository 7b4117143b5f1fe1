"""Batches of rows of similar length, padded at the end, in an order that depends on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from .dataset import IGNORED, Example, Pair

PADDING_INDEX = -1
"""Marks a padding example instead of a row's index."""


def choose_micro_batch_size(batch_size: int, longest: int, tokens: int) -> int:
    """The largest divisor of `batch_size` whose rows have at most `tokens` tokens, padding included.

    `longest`: tokens of the longest row; for a pair twice those of its longer answer.
    """
    return max((n for n in range(1, batch_size + 1) if batch_size % n == 0 and n * longest <= tokens), default=1)


def next_smaller_micro_batch_size(micro: int, batch_size: int) -> int:
    """The largest divisor of `batch_size` that is at most half of `micro`."""
    return max(n for n in range(1, max(1, micro // 2) + 1) if batch_size % n == 0)


def collate(examples: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """One batch, padded at the end of its rows: causal attention needs no mask for that.

    For pairs: both answers, one after the other, and `reference`, one row per pair, if it is known.
    """
    rows = [row for example in examples for row in example.sequences]
    references = [example.reference for example in examples if isinstance(example, Pair) and example.reference]
    width = max(len(row.input_ids) for row in rows)
    fill = [width - len(row.input_ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.input_ids + [pad] * n for n, row in zip(fill, rows, strict=True)]),
        "labels": torch.tensor([row.labels + [IGNORED] * n for n, row in zip(fill, rows, strict=True)]),
        "lengths": torch.tensor([len(row.input_ids) for row in rows]),
        **({"reference": torch.tensor(references)} if references else {}),
    }


class ExampleDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows in the form that the Trainer expects."""

    def __init__(self, rows: list[Example]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == PADDING_INDEX:
            return {"row": self.rows[0].padding_example()}
        return {"row": self.rows[index]}


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """Groups rows of similar length, in an order that depends on the seed and the epoch alone.

    Where several processes divide a batch, an epoch's last batch is filled with `PADDING_INDEX` to a multiple of
    `multiple_of` rows, so that every process gets the same number of micro-batches.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, multiple_of: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.padding = [PADDING_INDEX] * (-len(lengths) % multiple_of)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.padding)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator) + self.padding)
