"""Measures the trainer: prints a table, and saves the results as JSON.

python -m tunebase_trainer.bench cpu           SmolLM2-135M on this CPU, against TRL's SFTTrainer
python -m tunebase_trainer.bench mixed         the same on rows of mixed length
python -m tunebase_trainer.bench rendering     conversations of 160 turns, against those of 20; several processes
python -m tunebase_trainer.bench gpu           peak memory and tokens/s of Qwen3-Next-80B-A3B's shape, and Qwen3-8B's
python -m tunebase_trainer.bench gpu --tiny    the same code on tiny shapes, on any machine; the results mean nothing
python -m tunebase_trainer.bench model_start   a start with empty caches, against the next one
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from . import results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tunebase_trainer.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=["cpu", "mixed", "rendering", "gpu", "model_start"])
    parser.add_argument("--tiny", action="store_true", help="tiny shapes (gpu alone)")
    parser.add_argument("--steps", type=int, help="steps of each process, the first to warm up (cpu: 4, in fp32 2)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each side (cpu, mixed: 2)")
    parser.add_argument("--json", type=Path, default=results.FILE, help=f"where results are saved: {results.FILE}")
    arguments = parser.parse_args()
    if arguments.name != "gpu":  # as the local stack's worker
        os.environ.setdefault("TUNEBASE_CPU_DTYPE", "auto")
    if arguments.name == "gpu":
        from . import gpu

        found = gpu.run(tiny=arguments.tiny)
        if arguments.tiny:  # not under the name of a real measurement
            found = [replace(measurement, name=f"tiny_{measurement.name}") for measurement in found]
    elif arguments.name == "cpu":
        from . import cpu

        found = cpu.run(arguments.steps, arguments.rounds)
    elif arguments.name == "mixed":
        from . import mixed

        found = mixed.run(arguments.rounds)
    elif arguments.name == "rendering":
        from . import rendering

        found = rendering.run()
    else:
        from . import model_start

        found = model_start.run()
    if not (arguments.tiny and arguments.json == results.FILE):
        results.save(arguments.json, found)
    for measurement in found:
        print(results.format_line(measurement))
    sys.exit(0 if all(measurement.ok for measurement in found) or arguments.tiny else 1)


if __name__ == "__main__":
    main()
