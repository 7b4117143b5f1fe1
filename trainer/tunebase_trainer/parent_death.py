"""Ties a process to the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys


def set_parent_death_signal() -> None:
    """Has the kernel kill this process when its parent dies: by itself it would run on, unnoticed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
