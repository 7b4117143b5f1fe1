"""test_locally.py: it passes, needs no development requirements, and reports failures."""

from __future__ import annotations

import logging
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TRAINER

# Fails the import of every development requirement.
WITHOUT_DEVELOPMENT_REQUIREMENTS = """
import runpy, sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("pytest", "jsonschema", "trl", "datasets", "torch", "transformers"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Blocked())
sys.argv = ["test_locally.py"]
runpy.run_path("test_locally.py", run_name="__main__")
"""


def run_script() -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNEBASE_")}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_DEVELOPMENT_REQUIREMENTS],
        cwd=TRAINER,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_four_suites_pass_without_development_requirements_torch_or_a_model() -> None:
    done = run_script()
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("input_validation", "handler_structure", "status_manager", "response_formats"):
        assert re.search(rf"^PASS  {name} +\d+ passed, 0 failed", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"\n\d\d passed, 0 failed in 4 suites\n$", done.stdout)


def run_here(script: Path, *arguments: str) -> object:
    """Runs it in this process, which has done its imports; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [str(script), *arguments])
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            logging.disable(logging.NOTSET)  # the script turns logging off
    return ended.value.code


def test_a_failure_is_counted_and_the_exit_status_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (TRAINER / "test_locally.py").read_text()
    (tmp_path / "test_locally.py").write_text(text.replace('"status": "running",\n', '"status": "walking",\n'))
    assert run_here(tmp_path / "test_locally.py", "response_formats") == 1
    printed = capsys.readouterr().out
    assert "4 passed, 1 failed in 1 suite" in printed and "FAIL  response_formats" in printed


def test_an_unknown_suite_is_an_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(TRAINER / "test_locally.py", "nonsense") == 2
    assert "input_validation, handler_structure, status_manager, response_formats" in capsys.readouterr().err
