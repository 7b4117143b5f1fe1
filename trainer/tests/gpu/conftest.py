"""Prints the measured stages after the tests."""

from __future__ import annotations

import pytest
import torch
from support import stages


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not stages.MEASURED:
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    terminalreporter.section(f"stages on {device}")
    terminalreporter.write_line(stages.table(stages.MEASURED))
