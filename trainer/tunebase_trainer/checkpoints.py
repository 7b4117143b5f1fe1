"""Checkpoints of a training: transformers' own, and beside them what a resumed run must know and where it may be used.

A resumed run makes the steps that the uninterrupted one would have made. What that needs beyond transformers' own
state: an order of rows that depends on the epoch alone (`RowOrder`), a logging window that ends where a checkpoint is
saved, and no save between an epoch's last step and its evaluation, which draws random numbers too.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerState
from transformers.trainer_pt_utils import get_length_grouped_indices, safe_globals

from . import ranks
from .model import name_base

KEPT = "tunebase.json"
FILLER = -1
"""In the place of a row's index: a row of which nothing is learned."""
# Not needed to go on, and training_args.bin is a pickle of anything.
UNNEEDED = ("README.md", "training_args.bin")


class Stopped(Exception):
    """The training was asked to stop, and has saved a checkpoint after `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


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
            several = ranks.count() > 1
            states = [f"rng_state_{n}.pth" for n in range(ranks.count())] if several else ["rng_state.pth"]
            for name in ("optimizer.pt", "scheduler.pt", *states):
                torch.load(directory / name, map_location="cpu", weights_only=True)
        with safe_open(directory / "adapter_model.safetensors", "pt") as adapter:
            for name in adapter.keys():  # noqa: SIM118 (not a dict)
                adapter.get_tensor(name)
        state = TrainerState.load_from_json(str(directory / "trainer_state.json"))
    except Unusable:
        raise
    except Exception as error:  # whatever is wrong with it, the answer is the same
        raise Unusable(f"{type(error).__name__}: {str(error)[:200]}") from error
    if state.global_step != counts.step:
        raise Unusable(f"its parts are of steps {state.global_step} and {counts.step}")
    return counts


class RowOrder(torch.utils.data.Sampler[int]):
    """Rows of like length together, in an order that follows from the seed and the epoch, whatever came before.

    Where several processes share a batch, an epoch's last one is filled up with `FILLER` to a multiple of `share`
    rows, so that none waits for a micro-batch that another has not got.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, share: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.filler = [FILLER] * (-len(lengths) % share)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.filler)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator) + self.filler)


@dataclass(frozen=True)
class Plan:
    """When to save, and what to say of what was saved."""

    seconds: float
    """Save about this often; infinity: only when asked to stop."""
    asked_to_stop: Callable[[], bool]
    total_steps: int
    steps_per_epoch: int
    run: dict[str, Any]
    base: tuple[str, str | None]
    """The base model's public name and revision, for the adapter's config."""
    tell: Callable[..., None]


class Checkpoints(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Has the Trainer save at a step's end when it is time, tells it, and stops the run if that was asked."""

    def __init__(
        self, plan: Plan, counts: Callable[[], Counts], validated: Callable[[], tuple[int, float] | None]
    ) -> None:
        """`validated`: the newest validation, after which step and its loss."""
        self.plan, self.counts, self.validated = plan, counts, validated
        self.last = math.inf

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()

    def _due(self, state: Any) -> bool:
        if state.global_step >= self.plan.total_steps:
            return False  # the adapter itself comes next
        return ranks.any_of(self.plan.asked_to_stop() or time.monotonic() - self.last >= self.plan.seconds)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.plan.steps_per_epoch and self._due(state):
            control.should_log = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._due(state):
            control.should_log = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = time.monotonic()
        stop = ranks.any_of(self.plan.asked_to_stop())  # after which each has written its part
        if ranks.rank() == 0:
            self._tell(args, state)
        if stop:
            raise Stopped(state.global_step)

    def _tell(self, args: Any, state: Any) -> None:
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for name in UNNEEDED:
            (directory / name).unlink(missing_ok=True)
        name_base(directory, *self.plan.base)
        counts, validated = self.counts(), self.validated()
        write_kept(directory, counts, self.plan.run)
        self.plan.tell(
            "checkpoint",
            step=counts.step,
            epoch=counts.epoch,
            path=os.fspath(directory),
            training_loss=counts.last_loss,
            validation_loss=validated[1] if validated and validated[0] == counts.step else None,
        )
