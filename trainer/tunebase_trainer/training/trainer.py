"""transformers' Trainer with our losses, our batch order, and a count of the tokens it has seen."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from ..data.batches import ExampleDataset, LengthGroupedSampler, collate
from ..data.dataset import IGNORED, Example
from ..evaluation.validation import validate
from ..model import distributed, precision
from . import preference
from .loss import TrainingDiverged, supervised_loss
from .progress_callback import LOGGING_STEPS, MAX_STEPS_LOGGED_EACH


class LoraTrainer(Trainer):  # type: ignore[misc]  # transformers' Trainer is untyped
    """The loss counts learned tokens only, or pairs if `beta` is set."""

    tokens_seen = 0
    beta: float | None = None
    """Of direct preference optimization; None: supervised."""
    control: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        examples: ExampleDataset = self.train_dataset
        micro = self.args.train_batch_size * distributed.world_size()
        batch = micro * self.args.gradient_accumulation_steps
        lengths = [row.length for row in examples.rows]
        multiple_of = micro if distributed.world_size() > 1 else 1
        return LengthGroupedSampler(lengths, batch, self.args.seed, multiple_of)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What a step's loss is averaged over: learned tokens, or pairs."""
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
            learned = (inputs["labels"] != IGNORED).any(dim=1)  # excludes padding examples
            self.tokens_seen += distributed.sum_over_ranks(int(inputs["lengths"][learned].sum()))
        if self.beta is None:
            loss = supervised_loss(model, inputs, num_items_in_batch)
        else:
            loss = preference.dpo_loss(model, inputs, self.beta, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * distributed.world_size()  # DDP averages the gradients over the ranks
        return (loss, {}) if return_outputs else loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Stops before a non-finite gradient is applied."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(float(norm)):
            raise TrainingDiverged(self.state.global_step + 1)
        return norm

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        def to_batch(rows: list[Example]) -> dict[str, torch.Tensor]:
            batch: dict[str, torch.Tensor] = self._prepare_inputs(self.data_collator([{"row": row} for row in rows]))
            return batch

        metrics = validate(
            self.model, self.eval_dataset.rows, self.args.per_device_eval_batch_size, to_batch, self.beta
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
    arguments: TrainingArguments,
) -> LoraTrainer:
    trainer = LoraTrainer(
        model=net,
        args=arguments,
        train_dataset=ExampleDataset(rows),
        eval_dataset=ExampleDataset(validation) if validation else None,
        data_collator=lambda items: collate([item["row"] for item in items], pad),
    )
    if len(rows[0].sequences) > 1:
        trainer.beta = hyper["beta"]
    return trainer


def training_arguments(
    hyper: dict[str, Any],
    output_dir: str,
    *,
    micro_batch_size: int,
    warmup_steps: int,
    total_steps: int,
    validates: bool,
    on_gpu: bool,
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=output_dir,
        per_device_train_batch_size=micro_batch_size,
        per_device_eval_batch_size=micro_batch_size,
        gradient_accumulation_steps=hyper["batch_size"] // (micro_batch_size * distributed.world_size()),
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
        eval_strategy="epoch" if validates else "no",
        save_strategy="no",  # CheckpointCallback decides when
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
