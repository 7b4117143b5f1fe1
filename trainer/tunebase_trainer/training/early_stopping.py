"""Keeps the adapter with the lowest validation loss, and stops training when it no longer improves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from ..model import distributed
from ..text import counted
from .checkpoint_state import BEST_ADAPTER_FILE, TrainingState


def save_adapter_weights(net: Any, path: Path) -> None:
    """Writes the adapter's weights to `path`."""
    weights = get_peft_model_state_dict(net, save_embedding_layers=False)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, path)


def load_adapter_weights(net: Any, path: Path) -> None:
    """Loads weights that `save_adapter_weights` wrote."""
    set_peft_model_state_dict(net, load_file(path))


class BestAdapterCallback(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Keeps the best adapter, and stops training after `patience` validations without improvement."""

    def __init__(
        self,
        net: Any,
        directory: Path,
        patience: int,
        emit: Callable[..., None],
        resumed: tuple[Path, TrainingState] | None,
    ) -> None:
        """`patience` 0: never stop early. `resumed`: the checkpoint that the run resumes from."""
        self.net, self.path, self.patience, self.emit = net, directory / BEST_ADAPTER_FILE, patience, emit
        self.step: int | None = None
        self.loss: float | None = None
        self.stale = 0
        directory.mkdir(parents=True, exist_ok=True)
        if resumed is not None and resumed[1].best_step is not None:
            self.step, self.loss, self.stale = resumed[1].best_step, resumed[1].best_loss, resumed[1].stale
            if distributed.rank() == 0:
                shutil.copyfile(resumed[0] / BEST_ADAPTER_FILE, self.path)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        loss = metrics["eval_loss"]
        if distributed.any_rank(self.loss is None or loss < self.loss):
            self.step, self.loss, self.stale = state.global_step, loss, 0
            if distributed.rank() == 0:
                save_adapter_weights(self.net, self.path)
            return
        self.stale += 1
        if 0 < self.patience <= self.stale and state.global_step < state.max_steps:
            message = (
                f"Training stops early, after step {state.global_step}: the validation loss has not improved on "
                f"{self.loss:.4f} (step {self.step}) for {counted(self.stale, 'validation')} (early_stopping_patience)."
            )
            self.emit("log", level="info", message=message)
            control.should_training_stop = True
            control.should_save = False  # the adapter itself is saved next

    def copy_into(self, checkpoint: Path) -> None:
        """Adds the best adapter to a checkpoint, for runs that resume from it."""
        if self.step is not None:
            shutil.copyfile(self.path, checkpoint / BEST_ADAPTER_FILE)

    def restore(self, last_step: int) -> None:
        """Loads the best adapter's weights after the last step."""
        if self.step is None or self.step == last_step or distributed.rank() > 0:
            return
        load_adapter_weights(self.net, self.path)
        message = f"The adapter is from step {self.step}, which has the lowest validation loss: {self.loss:.4f}."
        self.emit("log", level="info", message=message)
