"""What only we know of a checkpoint, kept beside transformers' own files, and whether a run may go on from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.trainer_callback import TrainerState
from transformers.trainer_pt_utils import safe_globals

from ..model import distributed

KEPT = "tunebase.json"
BEST = "best_adapter.safetensors"
"""The best adapter so far, in a checkpoint of a run that validates."""

REFERENCE = "reference.safetensors"
"""What the answers' log-probabilities were before the first step, in a checkpoint of a run with method dpo."""


class Unusable(Exception):
    """A checkpoint from which this run cannot go on; says why."""


@dataclass(frozen=True)
class Counts:
    """What goes on counting when a run is resumed."""

    step: int
    epoch: float
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None
    micro_batch: int
    """Rows at once: what did not fit once will not fit again."""
    best_step: int | None
    """After which step the validation loss was lowest; None before the first validation."""
    best_loss: float | None
    stale: int
    """Validations since then."""


def write_kept(directory: Path, counts: Counts, run: dict[str, Any]) -> None:
    """Writes what only we know beside transformers' files; last, so that a directory that has it is whole."""
    beside = directory / f".{KEPT}"
    beside.write_text(json.dumps({"counts": asdict(counts), "run": run}))
    beside.rename(directory / KEPT)


def read_kept(directory: Path, run: dict[str, Any]) -> Counts:
    """Reads a checkpoint through, with the same loaders that transformers will use.

    `run`: what must be as it was (hyperparameters, rows, steps, versions). Raises Unusable.
    """
    try:
        kept = json.loads((directory / KEPT).read_text())
        counts = Counts(**kept["counts"])
        for name, value in run.items():
            if kept["run"].get(name) != value:
                raise Unusable(f"it was made with {name} {kept['run'].get(name)}, and this run has {value}")
        with safe_globals():
            several = distributed.count() > 1
            states = [f"rng_state_{n}.pth" for n in range(distributed.count())] if several else ["rng_state.pth"]
            for name in ("optimizer.pt", "scheduler.pt", *states):
                torch.load(directory / name, map_location="cpu", weights_only=True)
        paired = run.get("hyperparameters", {}).get("method") == "dpo"
        kept_tensors = [BEST] * (counts.best_step is not None) + [REFERENCE] * paired
        for name in ("adapter_model.safetensors", *kept_tensors):
            with safe_open(directory / name, "pt") as adapter:
                for tensor in adapter.keys():  # noqa: SIM118 (not a dict)
                    adapter.get_tensor(tensor)
        state = TrainerState.load_from_json(str(directory / "trainer_state.json"))
    except Unusable:
        raise
    except Exception as error:  # whatever is wrong with it, the answer is the same
        raise Unusable(f"{type(error).__name__}: {str(error)[:200]}") from error
    if state.global_step != counts.step:
        raise Unusable(f"its parts are of steps {state.global_step} and {counts.step}")
    return counts
