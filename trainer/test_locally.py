"""Tests the worker on any machine: no GPU, no network, no RunPod account, no model to fetch.

    python test_locally.py [input] [callbacks] [dry-run] [training]

Each suite is some files of tests/, run by pytest; without a name all four run. The exit status is 0 if all passed.
It needs requirements-dev.txt installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITES = {
    "input": ("what is said of input, field by field; aliases, ranges, https only", ["worker/test_protocol.py"]),
    "callbacks": ("signatures, order, retries, orders obeyed, Tunebase away", ["worker/test_callback_client.py"]),
    "dry-run": (
        "rows become batches, and the loss is the plain one, on a tiny random model",
        ["training/test_loop.py"],
    ),
    "training": (
        "a real tiny training through handler.py, its adapter loaded by plain PEFT",
        ["worker/test_handler.py"],
    ),
}


def run(name: str) -> bool:
    """Runs one suite and prints a line; the tests' own output only if one fails."""
    about, files = SUITES[name]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{file}" for file in files)],
        cwd=HERE,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    passed = done.returncode == 0
    if not passed:
        print(done.stdout)
    summary = done.stdout.strip().splitlines()[-1:]
    print(f"{'ok    ' if passed else 'FAILED'} {name}: {about}: {''.join(summary).strip('= ')}", flush=True)
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    chosen = parser.parse_args().suites or list(SUITES)
    if unknown := [name for name in chosen if name not in SUITES]:
        parser.error(f"there is no suite {unknown[0]!r}; there are: {', '.join(SUITES)}")
    failed = [name for name in chosen if not run(name)]
    print(f"{len(chosen) - len(failed)} suites passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
