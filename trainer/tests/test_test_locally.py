"""test_locally.py: its suites are tests of this folder, so here only how it chooses them and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "test_locally.py", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
    )


def test_a_suite_that_passes_is_said_to_and_the_exit_status_is_0() -> None:
    done = run_script("input")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok     input" in done.stdout
    assert done.stdout.endswith("1 suites passed, 0 failed\n")


def test_a_suite_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    done = run_script("nonsense")
    assert done.returncode == 2
    assert "input, callbacks, dry-run, training" in done.stderr


def test_each_suite_has_its_files() -> None:
    import test_locally as script

    assert all((HERE / file).is_file() for _, files in script.SUITES.values() for file in files)
