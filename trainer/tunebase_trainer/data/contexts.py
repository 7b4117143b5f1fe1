"""Encodes a conversation so that the tokens before an answer equal those of its prompt at serving.

Serving encodes the prompt alone. If a text is encoded together with the answer and what follows, the tokens before the
answer can differ: a tokenizer may merge a prompt's last space with the answer's first word, or the line breaks around
an answer's start. So each answer's context is compared with its encoding at serving.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

Offsets = list[tuple[int, int]]
# Short texts between two special tokens recur, such as the generation prompt.
MAX_CACHED, MAX_CACHED_LENGTH = 4096, 256


class ContextEncoder:
    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # The tokenizer first splits the text at these, and encodes the parts separately.
        special = [
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if not (token.normalized or token.lstrip or token.rstrip or token.single_word)
        ]
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str, starts: Sequence[int]) -> tuple[list[int], Offsets, frozenset[int]]:
        """Token ids, their character offsets, and the `starts` before which the ids equal those at serving.

        `starts`: where answers start, in order. The last one's context always equals that at serving.
        """
        last = starts[-1]
        cuts = [match.start() for match in self._special.finditer(text)] if self._special is not None else []
        ids, offsets = self._encode(text, 0)
        begins = [begin for begin, _ in offsets]
        if not self._is_context(text, last, cuts, ids, begins):
            ids, offsets = self._encode(text[:last], 0)
            more, more_offsets = self._encode(text[last:], last)
            ids, offsets = ids + more, offsets + more_offsets
            begins = [begin for begin, _ in offsets]
        same = {start for start in starts[:-1] if self._is_context(text, start, cuts, ids, begins)}
        return ids, offsets, frozenset({*same, last})

    def _is_context(self, text: str, start: int, cuts: list[int], ids: list[int], begins: list[int]) -> bool:
        """Whether the ids before `start` equal those of the text before it alone. Up to a special token, they always
        do."""
        cut = cuts[n - 1] if (n := bisect_left(cuts, start)) > 0 else 0
        return ids[bisect_left(begins, cut) : bisect_left(begins, start)] == self._ids(text[cut:start])

    def _ids(self, text: str) -> list[int]:
        if (known := self._cache.get(text)) is not None:
            return known
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        if len(text) <= MAX_CACHED_LENGTH and len(self._cache) < MAX_CACHED:
            self._cache[text] = ids
        return ids

    def _encode(self, text: str, at: int) -> tuple[list[int], Offsets]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [(at + begin, at + end) for begin, end in encoded["offset_mapping"]]
