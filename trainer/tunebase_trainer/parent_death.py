"""Ends a process together with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys


def set_parent_death_signal() -> None:
    """Makes the kernel kill this process when its parent dies. Otherwise, it would keep running unnoticed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
