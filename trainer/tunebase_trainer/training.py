"""The training loop: transformers' Trainer with our own loss, told step by step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from . import ranks
from .checkpoints import FILLER, Checkpoints, Counts, Plan, RowOrder
from .dataset import IGNORED, Row
from .errors import TrainerError
from .gpu import GpuMeter

# Training's share of a job's progress, in percent.
FROM, TO = 10.0, 92.0


@dataclass(frozen=True)
class Outcome:
    steps: int
    trained_tokens: int
    first_loss: float | None
    last_loss: float | None


def micro_batch(batch_size: int, longest: int, tokens: int) -> int:
    """How many rows go through the model at once: the largest divisor of the batch that keeps to `tokens`."""
    return max((n for n in range(1, batch_size + 1) if batch_size % n == 0 and n * longest <= tokens), default=1)


def collate(rows: list[Row], pad: int) -> dict[str, torch.Tensor]:
    """One batch, padded on the left: the answers end in the same columns, so few columns hold labels."""
    width = max(len(row.input_ids) for row in rows)
    fill = [width - len(row.input_ids) for row in rows]
    return {
        "input_ids": torch.tensor([[pad] * n + row.input_ids for n, row in zip(fill, rows, strict=True)]),
        "attention_mask": torch.tensor([[0] * n + [1] * (width - n) for n in fill]),
        "labels": torch.tensor([[IGNORED] * n + row.labels for n, row in zip(fill, rows, strict=True)]),
    }


def loss_of(model: Any, batch: dict[str, torch.Tensor], items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross entropy in nats over the learned tokens, divided by `items` (their number in the whole step) or by its own.

    Only columns in which some row learns go through the vocabulary's projection.
    """
    targets = batch["labels"][:, 1:]
    columns = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=columns, use_cache=False
    ).logits
    learned = targets[:, columns]
    mask = learned != IGNORED
    total = torch.nn.functional.cross_entropy(logits[mask].float(), learned[mask], reduction="sum")
    return total / (items if items is not None else mask.sum())


class LearnedTokens(Trainer):  # type: ignore[misc]  # transformers' Trainer is untyped
    """Trainer whose loss counts the learned tokens alone, and which counts what goes through the model."""

    tokens_seen = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> RowOrder:
        rows: Rows = self.train_dataset
        micro, shared = self.args.train_batch_size * ranks.count(), ranks.count() > 1
        batch = micro * self.args.gradient_accumulation_steps
        lengths = [len(row.input_ids) for row in rows.rows]
        return RowOrder(lengths, batch, self.args.seed, share=micro if shared else 1)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if model.training:
            learning = (inputs["labels"] != IGNORED).any(dim=1)  # not a filler
            self.tokens_seen += ranks.total(int(inputs["attention_mask"][learning].sum()))
        loss = loss_of(model, inputs, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * ranks.count()  # of whose gradients DDP takes the mean
        return (loss, {}) if return_outputs else loss


class Narrator(TrainerCallback):  # type: ignore[misc]  # untyped, as Trainer
    """Tells each logged step, and stops on a loss or gradient that is not a number."""

    def __init__(self, trainer: LearnedTokens, plan: Plan, validates: bool, resumed: Counts | None) -> None:
        self.trainer, self.plan, self.validates = trainer, plan, validates
        self.gpu = GpuMeter()
        self.first_loss = resumed.first_loss if resumed else None
        self.last_loss = resumed.last_loss if resumed else None
        self.began = self.last_time = time.monotonic()
        self.began_at = self.last_tokens = 0
        self.held: dict[str, Any] | None = None
        """A step that waits for the validation after it."""
        self.validated: tuple[int, float] | None = None
        """The newest validation: after which step, its loss."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = self.last_time = time.monotonic()
        self.began_at, self.last_tokens = state.global_step, self.trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A validation is told with its step, so that step is told, whatever the rhythm.
        if self.validates and state.global_step % self.plan.steps_per_epoch == 0:
            control.should_log = True

    def counts(self) -> Counts:
        state = self.trainer.state
        return Counts(
            step=state.global_step,
            epoch=round(float(state.epoch), 4),
            trained_tokens=self.trainer.tokens_seen,
            first_loss=self.first_loss,
            last_loss=self.last_loss,
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            self.validated = state.global_step, logs["eval_loss"]
            if self.held is not None:
                self.plan.tell("step", **self.held | {"validation_loss": logs["eval_loss"]})
                self.held = None
        if "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainerError(
                "non_finite_loss",
                f"The training diverged at step {state.global_step}: its loss or gradient is not a number.",
                "Lower the learning rate (half of it is a good try), or look for broken rows.",
            )
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.last_loss = loss
        now = time.monotonic()
        tokens, seconds = self.trainer.tokens_seen - self.last_tokens, now - self.last_time
        self.last_tokens, self.last_time = self.trainer.tokens_seen, now
        total = self.plan.total_steps
        step = {
            "step": state.global_step,
            "total_steps": total,
            "epoch": round(float(state.epoch), 4),
            "training_loss": loss,
            "validation_loss": None,
            "learning_rate": logs.get("learning_rate"),
            "gradient_norm": norm,
            "tokens_per_second": tokens / seconds if seconds > 0 else None,
            "trained_tokens": self.trainer.tokens_seen,
            "seconds_left": (now - self.began) / (state.global_step - self.began_at) * (total - state.global_step),
            "progress": FROM + (TO - FROM) * state.global_step / total,
            **self.gpu.read(),
        }
        if self.validates and state.global_step % self.plan.steps_per_epoch == 0:
            self.held = step
        else:
            self.plan.tell("step", **step)


def train(
    net: Any,
    tokenizer: Any,
    rows: list[Row],
    validation: list[Row] | None,
    hyper: dict[str, Any],
    *,
    micro_batch: int,
    warmup: int,
    on_gpu: bool,
    plan: Plan,
    directory: Path,
    resume: tuple[Path, Counts] | None = None,
) -> Outcome:
    """Trains in place, from the checkpoint `resume` if there is one; checkpoints go below `directory`.

    Raises TrainerError `non_finite_loss`, and Stopped when `plan` was asked to stop; torch's out-of-memory errors pass
    through.
    """
    total_steps = plan.total_steps
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=micro_batch,
        gradient_accumulation_steps=hyper["batch_size"] // (micro_batch * ranks.count()),
        num_train_epochs=hyper["num_epochs"],
        learning_rate=hyper["learning_rate"],
        weight_decay=hyper["weight_decay"],
        warmup_steps=warmup,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not on_gpu,
        logging_steps=1 if total_steps <= 200 else min(10, total_steps // 100),
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
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = LearnedTokens(
        model=net,
        args=arguments,
        train_dataset=Rows(rows),
        eval_dataset=Rows(validation) if validation else None,
        data_collator=lambda items: collate([item["row"] for item in items], pad),
    )
    path, counts = resume if resume is not None else (None, None)
    trainer.tokens_seen = counts.trained_tokens if counts is not None else 0
    narrator = Narrator(trainer, plan, validation is not None, counts)
    trainer.add_callback(narrator)
    trainer.add_callback(Checkpoints(plan, narrator.counts, lambda: narrator.validated))
    trainer.train(resume_from_checkpoint=str(path) if path is not None else None)
    return Outcome(trainer.state.global_step, trainer.tokens_seen, narrator.first_loss, narrator.last_loss)


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows as the Trainer wants them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == FILLER:
            return {"row": replace(self.rows[0], input_ids=self.rows[0].input_ids[:1], labels=[IGNORED])}
        return {"row": self.rows[index]}
