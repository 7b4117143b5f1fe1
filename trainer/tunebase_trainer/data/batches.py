"""ExampleDataset as batches: of like length, padded at their ends, in an order that follows from the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from .dataset import IGNORED, Example, Pair

PADDING_INDEX = -1
"""In the place of a row's index: a row of which nothing is learned."""


def choose_micro_batch_size(batch_size: int, longest: int, tokens: int) -> int:
    """How many rows go through the model at once: the largest divisor of the batch that keeps to `tokens`.

    `longest`: the tokens of the longest row; of a pair both answers, each as long as the longer one.
    """
    return max((n for n in range(1, batch_size + 1) if batch_size % n == 0 and n * longest <= tokens), default=1)


def next_smaller_micro_batch_size(micro: int, batch_size: int) -> int:
    """Half of a micro-batch, or the largest divisor of the batch below that."""
    return max(n for n in range(1, max(1, micro // 2) + 1) if batch_size % n == 0)


def collate(examples: Sequence[Example], pad: int) -> dict[str, torch.Tensor]:
    """One batch, padded at the ends of its rows: what looks back only needs no mask for that.

    Of pairs: both answers, one after the other, and `reference`, a row for each pair, if it is known.
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
    """ExampleDataset as the Trainer wants them."""

    def __init__(self, rows: list[Example]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == PADDING_INDEX:
            return {"row": self.rows[0].padding_example()}
        return {"row": self.rows[index]}


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """ExampleDataset of like length together, in an order that follows from the seed and the epoch, whatever came before.

    Where several processes share a batch, an epoch's last one is filled up with `PADDING_INDEX` to a multiple of `share`
    rows, so that none waits for a micro-batch that another has not got.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, share: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.padding_example = [PADDING_INDEX] * (-len(lengths) % share)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.padding_example)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        return iter(
            get_length_grouped_indices(self.lengths, self.batch_size, generator=generator) + self.padding_example
        )
