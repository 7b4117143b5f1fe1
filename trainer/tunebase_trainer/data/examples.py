"""What is trained on: token ids with labels, or a pair of them."""

from __future__ import annotations

from dataclasses import dataclass

IGNORED = -100  # the label of a token that is not learned, torch's default ignore_index


@dataclass(frozen=True)
class Row:
    """Token ids and their labels, of one length; a label is the token's id or IGNORED."""

    input_ids: list[int]
    labels: list[int]
    line: int = 0
    """The line of the file. Examples of one line belong to one conversation; a split keeps them together."""

    @property
    def sequences(self) -> tuple[Row, ...]:
        """What the model processes for this example."""
        return (self,)

    @property
    def length(self) -> int:
        """Of the longest sequence."""
        return len(self.input_ids)

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return len(self.input_ids)

    def padding_example(self) -> Row:
        """An example of the same kind from which nothing is learned."""
        return Row(self.input_ids[:1], [IGNORED])


@dataclass(frozen=True)
class Pair:
    """One prompt with two answers, the better one first. The model processes both in the same batch."""

    chosen: Row
    rejected: Row
    line: int = 0
    reference: tuple[float, float] | None = None
    """The log-probability of each answer before the first step, once known; see training/preference.py."""

    @property
    def sequences(self) -> tuple[Row, ...]:
        return (self.chosen, self.rejected)

    @property
    def length(self) -> int:
        return max(self.chosen.length, self.rejected.length)

    @property
    def tokens(self) -> int:
        return self.chosen.tokens + self.rejected.tokens

    def padding_example(self) -> Pair:
        return Pair(self.chosen.padding_example(), self.rejected.padding_example(), reference=(0.0, 0.0))


Example = Row | Pair
