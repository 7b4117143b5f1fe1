"""Tunebase's part of a checkpoint, in addition to transformers' files, and the check whether a run can resume from
it."""

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
"""The best adapter so far, in a checkpoint of a run with validation."""

REFERENCE_FILE = "reference.safetensors"
"""The answers' log-probabilities before the first step, in a checkpoint of a run with method dpo."""


class IncompatibleCheckpoint(Exception):
    """This run cannot resume from a checkpoint. The message is the reason."""


@dataclass(frozen=True)
class TrainingState:
    """Counters that continue when a run is resumed."""

    step: int
    epoch: float
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None
    micro_batch_tokens: int
    """The maximum tokens per micro-batch. A size that did not fit once will not fit later."""
    best_step: int | None
    """The step with the lowest validation loss; None before the first validation."""
    best_loss: float | None
    stale: int
    """Validations since `best_step`."""


def save_state(directory: Path, state: TrainingState, run: dict[str, Any]) -> None:
    """Writes the state. It is written last, so a directory that has it is complete."""
    temporary = directory / f".{STATE_FILE}"
    temporary.write_text(json.dumps({"state": asdict(state), "run": run}))
    temporary.rename(directory / STATE_FILE)


def saved_hyperparameter(directory: Path, name: str) -> Any:
    """The value in the run that saved a checkpoint; None if the checkpoint is unusable, as `load_state` then
    reports."""
    try:
        return json.loads((directory / STATE_FILE).read_text())["run"]["hyperparameters"].get(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def load_state(directory: Path, run: dict[str, Any]) -> TrainingState:
    """Loads every part of a checkpoint with the loaders that transformers will use.

    `run`: what must be unchanged (hyperparameters, rows, steps, versions). Raises IncompatibleCheckpoint.
    """
    try:
        saved = json.loads((directory / STATE_FILE).read_text())
        state = TrainingState(**saved["state"])
        for name, value in run.items():
            if saved["run"].get(name) != value:
                raise IncompatibleCheckpoint(
                    f"it was saved with {name} {saved['run'].get(name)}, but this run has {value}"
                )
        with safe_globals():
            ranks = distributed.world_size()
            states = [f"rng_state_{n}.pth" for n in range(ranks)] if ranks > 1 else ["rng_state.pth"]
            for name in ("optimizer.pt", "scheduler.pt", *states):
                torch.load(directory / name, map_location="cpu", weights_only=True)
        is_dpo = run.get("hyperparameters", {}).get("method") == "dpo"
        own_files = [BEST_ADAPTER_FILE] * (state.best_step is not None) + [REFERENCE_FILE] * is_dpo
        for name in ("adapter_model.safetensors", *own_files):
            with safe_open(directory / name, "pt") as adapter:
                for tensor in adapter.keys():  # noqa: SIM118 (not a dict)
                    adapter.get_tensor(tensor)
        trainer_state = TrainerState.load_from_json(str(directory / "trainer_state.json"))
    except IncompatibleCheckpoint:
        raise
    except Exception as error:  # whatever the problem, the run starts over
        raise IncompatibleCheckpoint(f"{type(error).__name__}: {str(error)[:200]}") from error
    if trainer_state.global_step != state.step:
        raise IncompatibleCheckpoint(
            f"its parts are from different steps, {trainer_state.global_step} and {state.step}"
        )
    return state
