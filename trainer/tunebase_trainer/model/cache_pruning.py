"""Frees space in the cache of quantized models. A new library version leaves unused entries behind."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

log = logging.getLogger(__name__)

MAX_AGE_DAYS = 90
# A run reads its entry while it starts, so entries that were used this recently are never removed.
IN_USE_DAYS = 1


def mark_used(marker: Path) -> None:
    """Records the use of the entry that `marker`, a file in it, belongs to."""
    try:
        os.utime(marker)
    except OSError as error:  # a read-only volume: its entries keep their old times
        log.info("could not record the use of %s: %s", marker.parent, error)


def prune(root: Path, marker: str, needed: float) -> list[str]:
    """Removes entries that were not used for MAX_AGE_DAYS, then the oldest ones until `needed` bytes are free.

    Entries are the directories below `root` with a file `marker`, whose modification time is their last use. Returns
    the names of the removed entries.
    """
    now, removed = time.time(), list[str]()
    ages = sorted(((now - file.stat().st_mtime) / 86400, file.parent) for file in root.glob(f"nf4-*/{marker}"))
    for days, entry in reversed(ages):
        unused = days > MAX_AGE_DAYS
        if days < IN_USE_DAYS or not (unused or shutil.disk_usage(root).free < needed):
            continue
        log.warning("removed %s from the cache, which was last used %.0f days ago", entry, days)
        (entry / marker).unlink(missing_ok=True)  # first, so that no worker reads a partly removed entry
        shutil.rmtree(entry, ignore_errors=True)
        removed.append(entry.name)
    return removed
