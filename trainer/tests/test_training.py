"""Our loss is the plain one, only cheaper; and a run that goes wrong stops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from tunebase_trainer.checkpoints import Plan
from tunebase_trainer.dataset import IGNORED, read
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.failures import explain
from tunebase_trainer.training import collate, loss_of, micro_batch, train

HYPER = {"num_epochs": 2, "learning_rate": 1e-3, "batch_size": 4, "weight_decay": 0.0, "seed": 1}


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Any) -> Any:
    return tiny_tokenizer


@pytest.fixture(scope="module")
def rows(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(tiny.rows(8))
    return read(path, tokenizer, 512).rows


def test_a_file_of_rows_becomes_a_batch_of_which_only_the_answers_are_learned(rows: Any, tokenizer: Any) -> None:
    batch = collate(rows, tokenizer.pad_token_id)
    learned = [[token for token in row if token != IGNORED] for row in batch["labels"].tolist()]
    assert [tokenizer.decode(row) for row in learned] == [f"answer {n} of {n * n}<|im_end|>" for n in range(1, 9)]
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def test_the_loss_equals_the_librarys_own(model: Any, rows: Any, tokenizer: Any) -> None:
    batch = collate(rows[:4], tokenizer.pad_token_id)
    plain = model(**batch).loss
    assert loss_of(model, batch, None).item() == pytest.approx(plain.item(), rel=1e-3)


def test_two_micro_batches_make_the_gradient_of_one_batch(model: Any, rows: Any, tokenizer: Any) -> None:
    items = sum(label != -100 for row in rows[:4] for label in row.labels)

    def gradient(*parts: Any) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            loss_of(model, collate(part, tokenizer.pad_token_id), items).backward()  # type: ignore[no-untyped-call]
        found: torch.Tensor = model.model.layers[0].mlp.down_proj.weight.grad.clone()
        return found

    torch.testing.assert_close(gradient(rows[:4]), gradient(rows[:2], rows[2:4]), rtol=1e-3, atol=1e-6)


def test_a_micro_batch_divides_the_batch_and_keeps_to_its_tokens() -> None:
    assert micro_batch(8, 100, 4096) == 8
    assert micro_batch(8, 1000, 4096) == 4
    assert micro_batch(7, 1000, 4096) == 1
    assert micro_batch(8, 100_000, 4096) == 1


def run(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path, total_steps: int = 4, **changes: Any
) -> tuple[Any, list[dict[str, Any]]]:
    from tunebase_trainer.model import add_lora

    told: list[dict[str, Any]] = []
    net, trainable = add_lora(model, rank=4, alpha=8, dropout=0.0)
    assert trainable == sum(p.numel() for p in net.parameters() if p.requires_grad)
    outcome = train(
        net,
        tokenizer,
        rows,
        rows[:2],
        {**HYPER, **changes},
        micro_batch=2,
        warmup=1,
        on_gpu=False,
        plan=Plan(
            seconds=math.inf,
            asked_to_stop=lambda: False,
            total_steps=total_steps,
            steps_per_epoch=2,
            run={},
            base=("tiny", None),
            tell=lambda kind, **fields: told.append({"type": kind, **fields}),
        ),
        directory=tmp_path,
    )
    return outcome, told


def test_every_step_is_told_with_bounded_progress_and_true_units(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from tunebase_trainer.protocol import Metric

    outcome, told = run(model, tokenizer, rows, tmp_path)
    assert [event["step"] for event in told] == [1, 2, 3, 4]
    assert [event["validation_loss"] is not None for event in told] == [False, True, False, True], "each epoch's end"
    assert outcome.steps == 4
    progress = [event["progress"] for event in told]
    assert progress == sorted(progress) and progress[-1] == 92
    assert outcome.trained_tokens == 2 * sum(len(row.input_ids) for row in rows)
    for event in told:
        Metric.model_validate({name: event[name] for name in Metric.model_fields})
    assert outcome.last_loss < outcome.first_loss


def test_a_long_run_tells_each_validation_though_it_does_not_tell_each_step(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    _, told = run(model, tokenizer, rows, tmp_path, total_steps=1000)  # so it thinks: it is over after 4
    assert [(event["step"], event["validation_loss"] is not None) for event in told] == [
        (1, False),
        (2, True),
        (4, True),
    ]


def test_a_loss_that_is_not_a_number_stops_the_run(model: Any, tokenizer: Any, rows: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainerError) as caught:
        run(model, tokenizer, rows, tmp_path)
    assert caught.value.code == "non_finite_loss"
    assert "at step 1" in caught.value.message


def test_memory_and_disk_are_told_apart_from_what_nobody_expected() -> None:
    assert explain(torch.OutOfMemoryError()).code == "out_of_memory"
    assert explain(OSError(28, "No space left on device")).code == "disk_full"
    unexpected = explain(KeyError("secret detail"))
    assert unexpected.code == "internal_error"
    assert "secret detail" not in unexpected.message
