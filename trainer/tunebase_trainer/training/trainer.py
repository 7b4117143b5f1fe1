"""transformers' Trainer with Tunebase's losses and batch order, and a count of the processed tokens."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from ..data.batches import Batch, ExampleDataset, LengthGroupedSampler, collate, join, pack, pack_sequences
from ..data.dataset import Example, Row
from ..evaluation.validation import validate
from ..model import distributed, precision
from . import preference
from .loss import TrainingDiverged, count_learned_tokens, supervised_loss
from .progress_callback import LOGGING_STEPS, MAX_STEPS_LOGGED_EACH


class EpochOrder(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
    """Gives each epoch's rows their order.

    accelerate does not forward the epoch to a sampler behind both a rank's batches and those that a resumed epoch skips
    (1.15): such a run would continue its second epoch in the first one's order, and train rows twice or never.
    """

    def __init__(self, sampler: LengthGroupedSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.sampler.set_epoch(int(state.epoch + 1e-6))  # the sum of an epoch's fractions may be just below it


class LoraTrainer(Trainer):  # type: ignore[misc]  # transformers' Trainer is untyped
    """The loss is averaged over trained tokens, or over pairs if `beta` is set.

    The data loader yields all of this rank's rows of a step, split into micro-batches (`collate_step`), so the
    library's gradient accumulation, which counts rows, is off.
    """

    tokens_seen = 0
    beta: float | None = None
    """DPO's beta; None: supervised."""
    micro_batch_tokens: int
    pad: int
    joins_rows = False
    """Whether micro-batches are sequences of packed rows without padding."""
    control: Any

    def collate_step(self, examples: list[Example | None]) -> list[Batch]:
        rows = [example for example in examples if example is not None]
        if self.joins_rows:
            groups = pack_sequences(rows, self.micro_batch_tokens)
            return [self.to_batch([rows[index] for index in group]) for group in groups]
        return [
            self.to_batch([rows[index] for index in micro_batch])
            for micro_batch in pack(rows, self.micro_batch_tokens, len(rows))
        ]

    def to_batch(self, rows: list[Example]) -> Batch:
        """The loss of one micro-batch in training."""
        return join([row for row in rows if isinstance(row, Row)]) if self.joins_rows else collate(rows, self.pad)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        examples: ExampleDataset = self.train_dataset
        ranks = distributed.world_size()
        lengths = [row.length for row in examples.rows]
        sampler = LengthGroupedSampler(lengths, self.args.train_batch_size * ranks, self.args.seed, ranks)
        self.add_callback(EpochOrder(sampler))
        return sampler

    def _get_num_items_in_batch(self, batch_samples: list[list[Batch]], device: torch.device) -> int:
        """The number of items that a step's loss is averaged over: trained tokens, or pairs."""
        count = count_learned_tokens if self.beta is None else preference.count_pairs
        return distributed.sum_over_ranks(sum(count(batch) for step in batch_samples for batch in step))

    def training_step(self, model: Any, inputs: list[Batch], num_items_in_batch: Any = None) -> torch.Tensor:
        """Runs all micro-batches of a step. The ranks exchange gradients only in the last one's backward pass."""
        self.tokens_seen += distributed.sum_over_ranks(sum(int(batch["lengths"].sum()) for batch in inputs))
        # All ranks take part in each forward pass of a sharded base, so ranks with fewer micro-batches add empty ones.
        missing = distributed.max_over_ranks(len(inputs)) - len(inputs)
        examples: ExampleDataset = self.train_dataset
        batches = inputs + [collate([examples.rows[0].padding_example()], self.pad)] * missing
        loss = torch.zeros((), device=self.args.device)
        for number, batch in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else self.accelerator.no_sync(model):
                loss += super().training_step(model, batch, num_items_in_batch)
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if self.beta is None:
            loss = supervised_loss(model, inputs, num_items_in_batch)
        else:
            loss = preference.dpo_loss(model, inputs, self.beta, num_items_in_batch)
        loss = loss * distributed.world_size()  # DDP averages the gradients over the ranks
        return (loss, {}) if return_outputs else loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stops before a non-finite gradient is applied."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(float(norm)):
            raise TrainingDiverged(self.state.global_step + 1)
        return norm

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        def to_batch(rows: list[Example]) -> Batch:
            batch: Batch = self._prepare_inputs(collate(rows, self.pad))
            return batch

        metrics = validate(
            self.model,
            self.eval_dataset.rows,
            pack(self.eval_dataset.rows, self.micro_batch_tokens, self.args.train_batch_size),
            to_batch,
            self.beta,
        )
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def make_trainer(
    net: Any,
    pad: int,
    rows: list[Example],
    validation: list[Example],
    hyper: dict[str, Any],
    micro_batch_tokens: int,
    arguments: TrainingArguments,
    joins_rows: bool = False,
) -> LoraTrainer:
    trainer = LoraTrainer(
        model=net,
        args=arguments,
        train_dataset=ExampleDataset(rows),
        eval_dataset=ExampleDataset(validation) if validation else None,
    )
    trainer.data_collator = trainer.collate_step
    trainer.micro_batch_tokens, trainer.pad, trainer.joins_rows = micro_batch_tokens, pad, joins_rows
    if len(rows[0].sequences) > 1:
        trainer.beta = hyper["beta"]
    return trainer


def rows_per_step(hyper: dict[str, Any]) -> int:
    """Of this rank."""
    return int(hyper["batch_size"]) // distributed.world_size()


def training_arguments(
    hyper: dict[str, Any],
    output_dir: str,
    *,
    warmup_steps: int,
    total_steps: int,
    eval_steps: int | None,
    on_gpu: bool,
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=output_dir,
        per_device_train_batch_size=rows_per_step(hyper),
        num_train_epochs=hyper["num_epochs"],
        learning_rate=hyper["learning_rate"],
        weight_decay=hyper["weight_decay"],
        warmup_steps=warmup_steps,
        lr_scheduler_type=hyper["lr_schedule"],
        max_grad_norm=hyper["max_grad_norm"],
        bf16=precision.compute_dtype() == torch.bfloat16,
        use_cpu=not on_gpu,
        logging_steps=1 if total_steps <= MAX_STEPS_LOGGED_EACH else LOGGING_STEPS,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        eval_strategy="steps" if eval_steps is not None else "no",  # and after the last step
        eval_steps=eval_steps,
        save_strategy="no",  # CheckpointCallback decides when
        report_to="none",
        seed=hyper["seed"],
        remove_unused_columns=False,
        label_names=["labels"],
        prediction_loss_only=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=on_gpu,
        # One kernel for all weights. On a CPU, its step took a fifth of the time, with the same losses (measured).
        optim="adamw_torch_fused",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )
