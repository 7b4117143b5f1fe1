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

STATE_FILE = "tunebase.json"
BEST_ADAPTER_FILE = "best_adapter.safetensors"
"""The best adapter so far, in a checkpoint of a run that validates."""

REFERENCE_FILE = "reference.safetensors"
"""What the answers' log-probabilities were before the first step, in a checkpoint of a run with method dpo."""


class IncompatibleCheckpoint(Exception):
    """A checkpoint from which this run cannot go on; says why."""


@dataclass(frozen=True)
class TrainingState:
    """What goes on counting when a run is resumed."""

    step: int
    epoch: float
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None
    micro_batch: int
    """ExampleDataset at once: what did not fit once will not fit again."""
    best_step: int | None
    """After which step the validation loss was lowest; None before the first validation."""
    best_loss: float | None
    stale: int
    """Validations since then."""


def save_state(directory: Path, counts: TrainingState, run: dict[str, Any]) -> None:
    """Writes what only we know beside transformers' files; last, so that a directory that has it is whole."""
    beside = directory / f".{STATE_FILE}"
    beside.write_text(json.dumps({"counts": asdict(counts), "run": run}))
    beside.rename(directory / STATE_FILE)


def load_state(directory: Path, run: dict[str, Any]) -> TrainingState:
    """Reads a checkpoint through, with the same loaders that transformers will use.

    `run`: what must be as it was (hyperparameters, rows, steps, versions). Raises IncompatibleCheckpoint.
    """
    try:
        kept = json.loads((directory / STATE_FILE).read_text())
        counts = TrainingState(**kept["counts"])
        for name, value in run.items():
            if kept["run"].get(name) != value:
                raise IncompatibleCheckpoint(
                    f"it was made with {name} {kept['run'].get(name)}, and this run has {value}"
                )
        with safe_globals():
            several = distributed.world_size() > 1
            states = [f"rng_state_{n}.pth" for n in range(distributed.world_size())] if several else ["rng_state.pth"]
            for name in ("optimizer.pt", "scheduler.pt", *states):
                torch.load(directory / name, map_location="cpu", weights_only=True)
        paired = run.get("hyperparameters", {}).get("method") == "dpo"
        kept_tensors = [BEST_ADAPTER_FILE] * (counts.best_step is not None) + [REFERENCE_FILE] * paired
        for name in ("adapter_model.safetensors", *kept_tensors):
            with safe_open(directory / name, "pt") as adapter:
                for tensor in adapter.keys():  # noqa: SIM118 (not a dict)
                    adapter.get_tensor(tensor)
        state = TrainerState.load_from_json(str(directory / "trainer_state.json"))
    except IncompatibleCheckpoint:
        raise
    except Exception as error:  # whatever is wrong with it, the answer is the same
        raise IncompatibleCheckpoint(f"{type(error).__name__}: {str(error)[:200]}") from error
    if state.global_step != counts.step:
        raise IncompatibleCheckpoint(f"its parts are of steps {state.global_step} and {counts.step}")
    return counts
