"""The training loop: transformers' Trainer with our own loss, told step by step, halved when memory runs out."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from ..data.batches import ExampleDataset, LengthGroupedSampler, collate, next_smaller_micro_batch_size
from ..data.dataset import IGNORED, Example, Pair
from ..model import distributed, precision
from . import preference
from .checkpoint_state import TrainingState
from .checkpoints import Checkpoints, Plan
from .early_stopping import BestAdapterCallback, load_adapter_weights, save_adapter_weights
from .loss import TrainingDiverged, check_projection, loss_of, non_finite_loss_error
from .oom import LongestBatchProbe, out_of_memory_error
from .progress_callback import LOGGING_STEPS, MAX_STEPS_LOGGED_EACH, ProgressCallback


@dataclass(frozen=True)
class TrainingResult:
    steps: int
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None
    best_step: int | None
    """After which step the validation loss was lowest: the adapter is that step's. None: no validation."""
    best_validation_loss: float | None


class LoraTrainer(Trainer):  # type: ignore[misc]  # transformers' Trainer is untyped
    """Trainer whose loss counts the learned tokens alone, and which counts what goes through the model."""

    tokens_seen = 0
    beta: float | None = None
    """Of direct preference optimization; None: supervised."""
    control: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        rows: ExampleDataset = self.train_dataset
        micro, shared = self.args.train_batch_size * distributed.world_size(), distributed.world_size() > 1
        batch = micro * self.args.gradient_accumulation_steps
        lengths = [row.length for row in rows.rows]
        return LengthGroupedSampler(lengths, batch, self.args.seed, share=micro if shared else 1)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What a step's loss is the mean of: learned tokens, or pairs."""
        items = super()._get_num_items_in_batch(batch_samples, device)
        if items is None or self.beta is None:
            return items
        return distributed.sum_over_ranks(sum(int(preference.learned_pairs(batch).sum()) for batch in batch_samples))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if model.training:
            learning = (inputs["labels"] != IGNORED).any(dim=1)  # not a padding_example
            self.tokens_seen += distributed.sum_over_ranks(int(inputs["lengths"][learning].sum()))
        if self.beta is None:
            loss = loss_of(model, inputs, num_items_in_batch)
        else:
            loss = preference.loss_of(model, inputs, self.beta, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * distributed.world_size()  # of whose gradients DDP takes the mean
        return (loss, {}) if return_outputs else loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stops before a gradient that is not a number is applied."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(float(norm)):
            raise TrainingDiverged(self.state.global_step + 1)
        return norm

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over all learned tokens, or pairs, of the validation rows; of pairs also in how many the better
        answer has the higher reward, and by how much on average.

        Our own: the library's is a mean over batches, which changes with their size, and it draws random numbers.
        """
        rows = sorted(self.eval_dataset.rows, key=lambda row: row.length, reverse=True)
        size = self.args.per_device_eval_batch_size
        self.model.eval()
        loss, items = 0.0, 0
        reward_margins: list[float] = []
        for start in range(0, len(rows), size):
            batch = self._prepare_inputs(self.data_collator([{"row": row} for row in rows[start : start + size]]))
            if self.beta is None:
                loss += float(loss_of(self.model, batch, 1))
                items += int((batch["labels"][:, 1:] >= 0).sum())
            else:
                found = preference.reward_margins(self.model, batch, self.beta)
                loss -= float(torch.nn.functional.logsigmoid(found).sum())
                items += len(found)
                reward_margins += found.tolist()
        self.model.train()
        metrics = {"eval_loss": loss / items}
        if reward_margins:
            metrics["eval_accuracy"] = sum(margin > 0 for margin in reward_margins) / len(reward_margins)
            metrics["eval_margin"] = sum(reward_margins) / len(reward_margins)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def train(
    net: Any,
    tokenizer: Any,
    rows: list[Example],
    validation: list[Example],
    hyper: dict[str, Any],
    *,
    micro_batch: int,
    warmup: int,
    on_gpu: bool,
    plan: Plan,
    directory: Path,
    resume: tuple[Path, TrainingState] | None = None,
    try_longest: bool = False,
) -> TrainingResult:
    """Trains in place, from the checkpoint `resume` if there is one; checkpoints go below `directory`.

    With validation rows the adapter ends as the one of the lowest validation loss. `try_longest`: the longest
    micro-batch passes before the first step. Of pairs the reference comes first (preference.py). When the GPU's memory
    runs out, it goes on from the newest checkpoint, or from the start, with half as many rows at once and as many a
    step as before.

    Raises TrainerError `non_finite_loss`, `out_of_memory` and `invalid_input`, and Stopped when `plan` was asked to.
    """
    check_projection(net)
    directory.mkdir(parents=True, exist_ok=True)
    start = directory / "start.safetensors"
    if distributed.rank() == 0:
        save_adapter_weights(net, start)
    micro = micro_batch if resume is None else min(micro_batch, resume[1].micro_batch)
    latest = resume
    pad = padding(tokenizer)
    reference: torch.Tensor | None = None
    if isinstance(rows[0], Pair) and resume is not None:
        reference = preference.load_reference(resume[0])

    def saved(path: Path, counts: TrainingState) -> None:
        nonlocal latest
        latest = path, counts

    while True:
        try:
            if isinstance(rows[0], Pair) and rows[0].reference is None:
                if reference is None:
                    reference = preference.compute_reference(net, rows + validation, micro, pad, plan)
                if distributed.rank() == 0:
                    preference.save_reference(directory, reference)
                rows = preference.attach_reference(rows, reference[: len(rows)])
                validation = preference.attach_reference(validation, reference[len(rows) :])
            return _run(
                net,
                pad,
                rows,
                validation,
                hyper,
                micro=micro,
                warmup=warmup,
                on_gpu=on_gpu,
                plan=plan,
                directory=directory,
                resume=latest,
                saved=saved,
                try_longest=try_longest,
            )
        except TrainingDiverged as error:
            raise non_finite_loss_error(
                error.step, hyper["learning_rate"], latest[1].step if latest else None
            ) from error
        except torch.OutOfMemoryError as error:
            # Of several processes only one may have run out, and the others wait for it: no second try for them.
            if micro == 1 or distributed.is_distributed():
                raise out_of_memory_error(rows + validation, hyper) from error
        # Here, where the error is gone, and with it the frames that held the loop.
        _release_gpu_memory(net)
        micro = next_smaller_micro_batch_size(micro, hyper["batch_size"])
        if latest is None:
            load_adapter_weights(net, start)
        place = f"step {latest[1].step}" if latest else "the start"
        message = (
            f"The GPU's memory ran out. Training goes on from {place} with {micro} rows at once, "
            f"and {hyper['batch_size']} a step as before."
        )
        plan.emit("log", level="warn", message=message)


def padding(tokenizer: Any) -> int:
    """The token that fills rows up."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def _run(
    net: Any,
    pad: int,
    rows: list[Example],
    validation: list[Example],
    hyper: dict[str, Any],
    *,
    micro: int,
    warmup: int,
    on_gpu: bool,
    plan: Plan,
    directory: Path,
    resume: tuple[Path, TrainingState] | None,
    saved: Callable[[Path, TrainingState], None],
    try_longest: bool,
) -> TrainingResult:
    """`train` with `micro` rows at once. Raises TrainingDiverged, Stopped and torch's out-of-memory errors."""
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=hyper["batch_size"] // (micro * distributed.world_size()),
        num_train_epochs=hyper["num_epochs"],
        learning_rate=hyper["learning_rate"],
        weight_decay=hyper["weight_decay"],
        warmup_steps=warmup,
        lr_scheduler_type=hyper["lr_schedule"],
        max_grad_norm=hyper["max_grad_norm"],
        bf16=precision.compute_dtype() == torch.bfloat16,
        use_cpu=not on_gpu,
        logging_steps=1 if plan.total_steps <= MAX_STEPS_LOGGED_EACH else LOGGING_STEPS,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        eval_strategy="epoch" if validation else "no",
        save_strategy="no",  # not by itself: Checkpoints says when
        report_to="none",
        seed=hyper["seed"],
        remove_unused_columns=False,
        label_names=["labels"],
        prediction_loss_only=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=on_gpu,
        optim="adamw_torch",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )
    loop = LoraTrainer(
        model=net,
        args=arguments,
        train_dataset=ExampleDataset(rows),
        eval_dataset=ExampleDataset(validation) if validation else None,
        data_collator=lambda items: collate([item["row"] for item in items], pad),
    )
    if isinstance(rows[0], Pair):
        loop.beta = hyper["beta"]
    counts = resume[1] if resume is not None else None
    loop.tokens_seen = counts.trained_tokens if counts is not None else 0
    progress = ProgressCallback(loop, plan, bool(validation), counts)
    best = BestAdapterCallback(net, directory, hyper["early_stopping_patience"], plan.emit, resume)

    def count() -> TrainingState:
        return TrainingState(
            step=loop.state.global_step,
            epoch=round(float(loop.state.epoch), 4),
            trained_tokens=loop.tokens_seen,
            first_loss=progress.first_loss,
            last_loss=progress.last_loss,
            micro_batch=micro,
            best_step=best.step,
            best_loss=best.loss,
            stale=best.stale,
        )

    if try_longest:
        loop.add_callback(LongestBatchProbe(loop, rows, micro))
    for listener in (progress, best, Checkpoints(plan, count, lambda: progress.validated, best, saved)):
        loop.add_callback(listener)
    loop.train(resume_from_checkpoint=str(resume[0]) if resume is not None else None)
    best.restore(loop.state.global_step)
    return TrainingResult(
        steps=loop.state.global_step,
        trained_tokens=loop.tokens_seen,
        first_loss=progress.first_loss,
        last_loss=progress.last_loss,
        best_step=best.step,
        best_validation_loss=best.loss,
    )


def _release_gpu_memory(net: Any) -> None:
    """Frees what a loop that is given up held on the GPU: gradients, Adam's moments, activations."""
    # accelerate has put a forward with autocast before the class's own. Without the mark it does so again for the next
    # loop; left half undone, that loop would compute in fp32.
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        net.__dict__.pop(name, None)
    net.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
