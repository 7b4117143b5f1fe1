"""The events of a training process, one JSON object per line. worker/process.py documents them."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..model import distributed


class EventStream:
    def __init__(self) -> None:
        if "TUNEBASE_EVENTS_PATH" in os.environ:  # one of several processes, see distributed.py
            self._file = Path(os.environ["TUNEBASE_EVENTS_PATH"]).open("w", buffering=1)
        else:
            self._file = os.fdopen(int(os.environ.get("TUNEBASE_EVENTS_FD", "1")), "w", buffering=1)

    def emit(self, kind: str, **fields: Any) -> None:
        """Writes one event on rank 0, or an error on any rank. NaN, which JSON does not have, becomes null."""
        if distributed.rank() > 0 and kind != "error":
            return
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
        self._file.write(json.dumps({"type": kind, **clean}, allow_nan=False) + "\n")

    def emit_stage(self, name: str, progress: float) -> None:
        self.emit("stage", stage=name, progress=progress)

    def emit_log(self, message: str, level: str = "info") -> None:
        self.emit("log", level=level, message=message)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()
