"""Runs one of the benches: `python -m tunebase_trainer.bench NAME [--help]`."""

from __future__ import annotations

import importlib
import sys

# Each is a module of this package with a `main(arguments)` that returns the exit status.
BENCHES = {"cpu": "SmolLM2-135M on this machine's CPU, against TRL's SFTTrainer"}

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in BENCHES:
        print(__doc__, "", *(f"  {bench}: {what}" for bench, what in BENCHES.items()), sep="\n")
        sys.exit(0 if name == "--help" else f"\nThere is no bench {name}.")
    sys.exit(importlib.import_module(f"tunebase_trainer.bench.{name}").main(sys.argv[2:]))
