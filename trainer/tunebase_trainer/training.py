"""The training loop: transformers' Trainer with our own loss, told step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from .dataset import IGNORED, Row
from .errors import TrainerError
from .gpu import GpuMeter

# Training's share of a job's progress, in percent.
FROM, TO = 10.0, 92.0


@dataclass(frozen=True)
class Outcome:
    steps: int
    trained_tokens: int
    first_loss: float
    last_loss: float


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

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if model.training:
            self.tokens_seen += int(inputs["attention_mask"].sum())
        loss = loss_of(model, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss


class Narrator(TrainerCallback):  # type: ignore[misc]  # untyped, as Trainer
    """Tells each logged step, and stops on a loss or gradient that is not a number."""

    def __init__(self, trainer: LearnedTokens, total_steps: int, tell: Callable[..., None]) -> None:
        self.trainer, self.total_steps, self.tell = trainer, total_steps, tell
        self.gpu = GpuMeter()
        self.losses: list[float] = []
        self.began = self.last_time = time.monotonic()
        self.last_tokens = 0
        self.validation_loss: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = self.last_time = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "eval_loss" in logs:
            self.validation_loss = logs["eval_loss"]
        if "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainerError(
                "non_finite_loss",
                f"The training diverged at step {state.global_step}: its loss or gradient is not a number.",
                "Lower the learning rate (half of it is a good try), or look for broken rows.",
            )
        self.losses.append(loss)
        now = time.monotonic()
        tokens, seconds = self.trainer.tokens_seen - self.last_tokens, now - self.last_time
        self.last_tokens, self.last_time = self.trainer.tokens_seen, now
        done = state.global_step / self.total_steps
        self.tell(
            "step",
            step=state.global_step,
            total_steps=self.total_steps,
            epoch=round(float(state.epoch), 4),
            training_loss=loss,
            validation_loss=self.validation_loss,
            learning_rate=logs.get("learning_rate"),
            gradient_norm=norm,
            tokens_per_second=tokens / seconds if seconds > 0 else None,
            trained_tokens=self.trainer.tokens_seen,
            seconds_left=(now - self.began) / done * (1 - done),
            progress=FROM + (TO - FROM) * done,
            **self.gpu.read(),
        )
        self.validation_loss = None


def train(
    net: Any,
    tokenizer: Any,
    rows: list[Row],
    validation: list[Row] | None,
    hyper: dict[str, Any],
    *,
    micro_batch: int,
    warmup: int,
    total_steps: int,
    on_gpu: bool,
    tell: Callable[..., None],
    scratch: Path,
) -> Outcome:
    """Trains in place. Raises TrainerError `non_finite_loss`; torch's out-of-memory errors pass through."""
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=micro_batch,
        gradient_accumulation_steps=hyper["batch_size"] // micro_batch,
        num_train_epochs=hyper["num_epochs"],
        learning_rate=hyper["learning_rate"],
        weight_decay=hyper["weight_decay"],
        warmup_steps=warmup,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not on_gpu,
        train_sampling_strategy="group_by_length",
        logging_steps=1 if total_steps <= 200 else min(10, total_steps // 100),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        eval_strategy="epoch" if validation else "no",
        save_strategy="no",
        report_to="none",
        seed=hyper["seed"],
        data_seed=hyper["seed"],
        remove_unused_columns=False,
        label_names=["labels"],
        prediction_loss_only=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=on_gpu,
        optim="adamw_torch",
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = LearnedTokens(
        model=net,
        args=arguments,
        train_dataset=Rows(rows),
        eval_dataset=Rows(validation) if validation else None,
        data_collator=lambda items: collate([item["row"] for item in items], pad),
    )
    narrator = Narrator(trainer, total_steps, tell)
    trainer.add_callback(narrator)
    trainer.train()
    return Outcome(trainer.state.global_step, trainer.tokens_seen, narrator.losses[0], narrator.losses[-1])


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows as the Trainer's sampler wants them: with their length, by which batches are grouped."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        return {"row": row, "input_ids": row.input_ids}
