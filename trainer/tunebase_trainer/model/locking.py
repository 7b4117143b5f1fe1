"""A lock shared by the processes of all workers on a volume."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(target: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Locks `target` while it is written. Calls `on_wait` once if another process holds the lock.

    Does nothing if the location is read-only, such as in an image that contains its model.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = (target.parent / f".{target.name}.lock").open("w")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        yield
        return
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
