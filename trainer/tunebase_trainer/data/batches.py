"""Batches rows of similar length, in an order that depends on the seed and the epoch, and splits them into
micro-batches.

A step's rows are packed into micro-batches by padded tokens, not by rows, so that one long row does not shrink the
others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from .dataset import IGNORED, Example, Pair, Row

Batch = dict[str, torch.Tensor]

NO_ROW = -1
"""Takes the place of a row's index."""


def padded_tokens(example: Example) -> int:
    """The padded tokens of an example in a batch where it is the longest: both answers of a pair have the same
    width."""
    return example.length * len(example.sequences)


def pack(examples: Sequence[Example], tokens: int, rows: int) -> list[list[int]]:
    """The indices of `examples` in micro-batches of at most `tokens` padded tokens and `rows` examples.

    A longer example gets its own. The longest come first. Minimizes the number of micro-batches, then the padding.
    """
    sizes = [padded_tokens(example) for example in examples]
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    # For the first n examples: the number of micro-batches, their padded tokens, and where the last one starts.
    best = [(0, 0, 0)]
    for end in range(1, len(order) + 1):
        choices = []
        for start in range(end - 1, max(0, end - rows) - 1, -1):
            padded = sizes[order[start]] * (end - start)
            if padded > tokens and end - start > 1:
                break
            batches, total, _ = best[start]
            choices.append((batches + 1, total + padded, start))
        best.append(min(choices))
    packed: list[list[int]] = []
    end = len(order)
    while end:
        start = best[end][2]
        packed.append(order[start:end])
        end = start
    return packed[::-1]


def largest_micro_batch(examples: Sequence[Example], tokens: int, rows: int) -> list[int]:
    """The indices of the largest micro-batch, in padded tokens, that `pack` could form from any of the examples."""
    order = sorted(range(len(examples)), key=lambda i: padded_tokens(examples[i]), reverse=True)

    def count(start: int) -> int:
        return max(1, min(rows, len(order) - start, tokens // padded_tokens(examples[order[start]])))

    start = max(range(len(order)), key=lambda start: padded_tokens(examples[order[start]]) * count(start))
    return order[start : start + count(start)]


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """One batch, padded at the end of its rows, for which causal attention needs no mask.

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


def pack_sequences(examples: Sequence[Example], tokens: int) -> list[list[int]]:
    """The indices of `examples` in micro-batches of at most `tokens` tokens without padding; a longer one is alone.

    First fit, the longest first.
    """
    packed: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(examples)), key=lambda i: examples[i].tokens, reverse=True):
        size = examples[index].tokens
        fitting = next((n for n, free in enumerate(room) if size <= free), None)
        if fitting is None:
            packed.append([index])
            room.append(tokens - size)
        else:
            packed[fitting].append(index)
            room[fitting] -= size
    return packed


def join(rows: Sequence[Row]) -> Batch:
    """One sequence of all rows, with the position of each token in its row, and where each row starts (`boundaries`).

    The first token of a row is not trained on, because another row precedes it.
    """
    ids = [token for row in rows for token in row.input_ids]
    labels = [label for row in rows for label in (IGNORED, *row.labels[1:])]
    lengths = torch.tensor([row.length for row in rows])
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "lengths": lengths,
        "position_ids": torch.cat([torch.arange(row.length) for row in rows])[None],
        "boundaries": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32),
    }


class ExampleDataset(torch.utils.data.Dataset[Example | None]):
    """Rows in the form that the Trainer expects."""

    def __init__(self, rows: list[Example]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example | None:
        return None if index == NO_ROW else self.rows[index]


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """Groups rows of similar length, in an order that depends on the seed and the epoch alone.

    If `ranks` processes share a batch, each process's rows are contiguous. An epoch's last batch is filled with
    `NO_ROW`, so that every process gets the same number of batches.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, ranks: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.ranks, self.epoch = lengths, batch_size, seed, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) if self.ranks == 1 else -(-len(self.lengths) // self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        order: list[int] = get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        return iter(order) if self.ranks == 1 else self._dealt(order)

    def _dealt(self, order: list[int]) -> Iterator[int]:
        """Gives every rank long and short rows of each batch."""
        for start in range(0, len(order), self.batch_size):
            batch = sorted(order[start : start + self.batch_size], key=lambda i: self.lengths[i], reverse=True)
            batch += [NO_ROW] * (self.batch_size - len(batch))
            for rank in range(self.ranks):
                yield from batch[rank :: self.ranks]
