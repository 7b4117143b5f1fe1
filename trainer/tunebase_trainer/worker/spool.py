"""A queue of unsent items in a file. Hours without Tunebase use no memory, and nothing is lost or reordered."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..contract import CHECKPOINTS_PER_REPORT, EVENTS_PER_REPORT, METRICS_PER_REPORT

Kind = Literal["metrics", "events", "checkpoints"]
MAX_ITEMS_PER_REPORT: dict[str, int] = {
    "metrics": METRICS_PER_REPORT,
    "events": EVENTS_PER_REPORT,
    "checkpoints": CHECKPOINTS_PER_REPORT,
}


@dataclass
class Batch:
    """The oldest items that fit one report. `end`: the file offset after them."""

    end: int = 0
    count: int = 0
    items: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in MAX_ITEMS_PER_REPORT})


class Spool:
    """First in, first out. A batch that is not marked as sent is returned again."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._start = 0
        self.pending = 0
        """How many items have not been sent."""

    def add(self, kind: Kind, item: dict[str, Any]) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps([kind, item], allow_nan=False).encode() + b"\n")
        self.pending += 1

    def batch(self) -> Batch:
        batch = Batch(end=self._start)
        self._file.seek(self._start)
        while line := self._file.readline():
            kind, item = json.loads(line)
            if len(batch.items[kind]) == MAX_ITEMS_PER_REPORT[kind]:
                break
            batch.items[kind].append(item)
            batch.count += 1
            batch.end += len(line)
        return batch

    def mark_sent(self, batch: Batch) -> None:
        """Removes a batch that has arrived."""
        self._start = batch.end
        self.pending -= batch.count
        if self.pending == 0:
            self._file.truncate(0)
            self._start = 0

    def close(self) -> None:
        self._file.close()
