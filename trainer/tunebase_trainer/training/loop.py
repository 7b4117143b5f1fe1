"""The training loop: resumes, reports every step, and halves the micro-batches when the GPU runs out of memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..data.batches import collate, join, pack
from ..data.dataset import Example, Pair, Row
from ..gpu_errors import is_out_of_gpu_memory
from ..kernels import packed_attention
from ..model import distributed, precision
from . import preference
from .checkpoint_state import TrainingState
from .checkpoints import CheckpointCallback, Plan
from .early_stopping import BestAdapterCallback, load_adapter_weights, save_adapter_weights
from .loss import TrainingDiverged, check_projection, non_finite_loss_error, token_losses
from .oom import LargestBatchProbe, next_smaller_micro_batch, out_of_memory_error
from .progress_callback import ProgressCallback
from .trainer import make_trainer, rows_per_step, training_arguments

Checkpoint = tuple[Path, TrainingState]


@dataclass(frozen=True)
class TrainingResult:
    steps: int
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None
    best_step: int | None
    """The step with the lowest validation loss, which the adapter is from. None: no validation."""
    best_validation_loss: float | None


@dataclass(frozen=True)
class TrainingRun:
    """The state that is kept when a run is retried with smaller micro-batches."""

    net: Any
    pad: int
    rows: list[Example]
    validation: list[Example]
    hyper: dict[str, Any]
    warmup_steps: int
    on_gpu: bool
    plan: Plan
    directory: Path
    probe_largest: bool
    joins_rows: bool


def train(
    net: Any,
    tokenizer: Any,
    rows: list[Example],
    validation: list[Example],
    hyper: dict[str, Any],
    *,
    micro_batch_tokens: int,
    warmup_steps: int,
    on_gpu: bool,
    plan: Plan,
    directory: Path,
    resume: Checkpoint | None = None,
    probe_largest: bool = False,
    packing: bool = False,
) -> TrainingResult:
    """Trains `net` in place, from the checkpoint `resume` if given. Saves checkpoints in `directory`.

    With validation rows, the resulting adapter is the one with the lowest validation loss. `probe_largest`: run the
    largest micro-batch before the first step. If the GPU runs out of memory, training continues from the newest
    checkpoint, or from the start, with micro-batches of half as many tokens and the same batch size.
    `packing`: pack rows into sequences without padding, if the model keeps them separate.

    Raises TrainerError `non_finite_loss`, `out_of_memory` and `invalid_input`, Stopped when `plan` requests it, and,
    with several GPUs, RestartNeeded instead of continuing.
    """
    check_projection(net)
    directory.mkdir(parents=True, exist_ok=True)
    start = directory / "start.safetensors"
    if distributed.rank() == 0:
        save_adapter_weights(net, start)
    if resume is not None:
        micro_batch_tokens = min(micro_batch_tokens, resume[1].micro_batch_tokens)
    joins_rows = packing and _enable_packing(net, rows, plan.emit)
    run = TrainingRun(
        net, padding_token(tokenizer), rows, validation, hyper, warmup_steps, on_gpu, plan, directory, probe_largest,
        joins_rows,
    )  # fmt: skip
    newest = NewestCheckpoint(resume)
    while True:
        try:
            run = _with_reference(run, resume, micro_batch_tokens)
            return _run_once(run, micro_batch_tokens, newest)
        except TrainingDiverged as error:
            raise non_finite_loss_error(error.step, hyper["learning_rate"], newest.step) from error
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
            smaller = next_smaller_micro_batch(rows + validation, micro_batch_tokens, rows_per_step(hyper))
            if smaller is None:
                raise out_of_memory_error(rows + validation, hyper) from error
            if distributed.is_distributed():
                raise distributed.RestartNeeded(smaller) from error
            micro_batch_tokens = smaller
        # Outside of `except`, so that the error, and with it the frames that held the trainer, are released.
        _release_gpu_memory(net)
        if newest.checkpoint is None:
            load_adapter_weights(net, start)
        _report_smaller_micro_batch(plan, newest, micro_batch_tokens, hyper["batch_size"])


def _enable_packing(net: Any, rows: list[Example], emit: Callable[..., None]) -> bool:
    """Whether rows can be packed; logs why not."""

    @torch.no_grad()
    def losses(texts: list[list[int]], joined: bool) -> torch.Tensor:
        examples = [Row(ids, ids) for ids in texts]
        batch = join(examples) if joined else collate(examples, 0)
        batch = {name: tensor.to(net.device) for name, tensor in batch.items()}
        training = net.training
        net.eval()
        with precision.autocast(net.device.type):
            found, _ = token_losses(net, batch)
        net.train(training)
        return found

    reason = "preference pairs are not packed" if isinstance(rows[0], Pair) else packed_attention.enable(net, losses)
    if reason is None:
        emit("log", level="info", message="Rows are packed without padding.")
    else:
        emit("log", level="warn", message=f"Rows are not packed: {reason}.")
    return reason is None


class NewestCheckpoint:
    """The checkpoint to continue from after running out of memory."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self.checkpoint = checkpoint

    @property
    def step(self) -> int | None:
        return self.checkpoint[1].step if self.checkpoint is not None else None

    def saved(self, path: Path, state: TrainingState) -> None:
        self.checkpoint = path, state


def _report_smaller_micro_batch(plan: Plan, newest: NewestCheckpoint, tokens: int, batch_size: int) -> None:
    origin = "the start" if newest.step is None else f"step {newest.step}"
    message = (
        f"The GPU ran out of memory. Training continues from {origin} with micro-batches of up to "
        f"{tokens} tokens; batch_size stays {batch_size}."
    )
    plan.emit("log", level="warn", message=message)


def _with_reference(run: TrainingRun, resume: Checkpoint | None, micro_batch_tokens: int) -> TrainingRun:
    """Attaches the reference log-probabilities to preference pairs. A resumed run reads them from its checkpoint."""
    rows, validation = run.rows, run.validation
    if not isinstance(rows[0], Pair) or rows[0].reference is not None:
        return run
    if resume is not None:
        reference = preference.load_reference(resume[0])
    else:
        reference = preference.compute_reference(
            run.net,
            rows + validation,
            pack(rows + validation, micro_batch_tokens, rows_per_step(run.hyper)),
            run.pad,
            run.plan,
        )
    if distributed.rank() == 0:
        preference.save_reference(run.directory, reference)
    return replace(
        run,
        rows=preference.attach_reference(rows, reference[: len(rows)]),
        validation=preference.attach_reference(validation, reference[len(rows) :]),
    )


def padding_token(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def _run_once(run: TrainingRun, micro_batch_tokens: int, newest: NewestCheckpoint) -> TrainingResult:
    """One attempt with micro-batches of this size. Raises TrainingDiverged, Stopped and torch's out-of-memory
    errors."""
    resume, hyper, plan = newest.checkpoint, run.hyper, run.plan
    arguments = training_arguments(
        hyper,
        str(run.directory),
        warmup_steps=run.warmup_steps,
        total_steps=plan.total_steps,
        eval_steps=plan.eval_steps,
        on_gpu=run.on_gpu,
    )
    trainer = make_trainer(
        run.net, run.pad, run.rows, run.validation, hyper, micro_batch_tokens, arguments, run.joins_rows
    )
    state = resume[1] if resume is not None else None
    trainer.tokens_seen = state.trained_tokens if state is not None else 0
    progress = ProgressCallback(trainer, plan, state)
    best = BestAdapterCallback(run.net, run.directory, hyper["early_stopping_patience"], plan.emit, resume)

    def current_state() -> TrainingState:
        return TrainingState(
            step=trainer.state.global_step,
            epoch=round(float(trainer.state.epoch), 4),
            trained_tokens=trainer.tokens_seen,
            first_loss=progress.first_loss,
            last_loss=progress.last_loss,
            micro_batch_tokens=micro_batch_tokens,
            best_step=best.step,
            best_loss=best.loss,
            stale=best.stale,
        )

    if run.probe_largest:
        trainer.add_callback(LargestBatchProbe(trainer, run.rows, micro_batch_tokens, rows_per_step(hyper)))
    checkpoints = CheckpointCallback(plan, current_state, lambda: progress.validated, best, newest.saved)
    for callback in (progress, best, checkpoints):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=str(resume[0]) if resume is not None else None)
    best.restore(trainer.state.global_step)
    return TrainingResult(
        steps=trainer.state.global_step,
        trained_tokens=trainer.tokens_seen,
        first_loss=progress.first_loss,
        last_loss=progress.last_loss,
        best_step=best.step,
        best_validation_loss=best.loss,
    )


def _release_gpu_memory(net: Any) -> None:
    """Frees the GPU memory of an abandoned trainer: gradients, Adam's moments, activations."""
    # accelerate has wrapped the class's forward in autocast and set a marker. The next trainer wraps it again only if
    # the marker is gone too; otherwise, it would compute in fp32.
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        net.__dict__.pop(name, None)
    net.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
