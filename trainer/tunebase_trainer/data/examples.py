"""Training examples: token ids with labels, or a pair of them."""

from __future__ import annotations

from dataclasses import dataclass

IGNORED = -100  # the label of a token that is not trained on: torch's default ignore_index


@dataclass(frozen=True)
class Row:
    """Token ids and labels of equal length; a label is the token's id or IGNORED."""

    input_ids: list[int]
    labels: list[int]
    line: int = 0
    """The line in the file. Examples of one line are from one conversation, which a split keeps together."""

    @property
    def sequences(self) -> tuple[Row, ...]:
        """What the model processes for this example."""
        return (self,)

    @property
    def length(self) -> int:
        """The length of the longest sequence."""
        return len(self.input_ids)

    @property
    def tokens(self) -> int:
        """The total length of all sequences."""
        return len(self.input_ids)

    def padding_example(self) -> Row:
        """An example of the same kind without trainable tokens."""
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
