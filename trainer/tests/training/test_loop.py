"""Our loss is the plain one, only cheaper; and a run that goes wrong stops."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny, tiny_models
from support.short_run import run
from transformers import AutoConfig

from tunebase_trainer.data.batches import (
    NO_ROW,
    LengthGroupedSampler,
    collate,
    largest_micro_batch,
    pack,
)
from tunebase_trainer.data.dataset import IGNORED, Dataset, Example, Pair, Row, read
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.training import loss
from tunebase_trainer.training.loss import check_projection, supervised_loss
from tunebase_trainer.training.schedule import CPU_MICRO_BATCH_TOKENS, make_schedule
from tunebase_trainer.worker.error_mapping import to_trainer_error


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Any) -> Any:
    return tiny_tokenizer


@pytest.fixture(scope="module")
def rows(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(tiny.rows(8))
    return read(path, tokenizer, 512).rows


def test_a_file_becomes_a_batch_in_which_only_answers_are_learned(rows: Any, tokenizer: Any) -> None:
    batch = collate(rows, tokenizer.pad_token_id)
    learned = [[token for token in row if token != IGNORED] for row in batch["labels"].tolist()]
    assert [tokenizer.decode(row) for row in learned] == [f"answer {n} of {n * n}<|im_end|>" for n in range(1, 9)]
    assert batch["input_ids"].shape == batch["labels"].shape
    assert batch["lengths"].tolist() == [len(row.input_ids) for row in rows]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    net.get_output_embeddings().weight.requires_grad_(False)
    return net


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("logits", [2**23, 1])
def test_loss_and_gradient_equal_the_librarys_in_one_chunk_and_in_many(
    model: Any, rows: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, cap: float | None, logits: int
) -> None:
    monkeypatch.setitem(loss.MAX_LOGITS, "cpu", logits)
    model.config.final_logit_softcapping = cap  # as Gemma 2 has
    batch = collate(rows[:4], tokenizer.pad_token_id)
    width = batch["input_ids"].shape[1]
    own = model(batch["input_ids"], attention_mask=torch.arange(width) < batch["lengths"][:, None]).logits
    if cap is not None:
        own = cap * torch.tanh(own / cap)
    plain = torch.nn.functional.cross_entropy(own[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    weight = model.model.layers[0].mlp.down_proj.weight
    (expected,) = torch.autograd.grad(plain, weight)
    found = supervised_loss(model, batch, None)
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(found, weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)


def test_a_model_that_transforms_its_logits_is_rejected(model: Any) -> None:
    from transformers import AutoModelForCausalLM

    check_projection(model)
    granite = tiny_models.config("llama", vocab_size=512).to_dict() | {"model_type": "granite", "logits_scaling": 8.0}
    scaled = AutoModelForCausalLM.from_config(AutoConfig.for_model(**granite))
    scaled.requires_grad_(False)
    torch.nn.init.normal_(scaled.get_output_embeddings().weight)
    with pytest.raises(TrainerError, match="granite, is not supported: it transforms its logits"):
        check_projection(scaled)


def test_a_batch_without_learned_tokens_has_zero_loss_and_zero_gradients(model: Any, rows: Any) -> None:
    batch = collate(rows[:2], 0) | {"labels": torch.full((2, max(len(row.input_ids) for row in rows[:2])), IGNORED)}
    (gradient,) = torch.autograd.grad(supervised_loss(model, batch, 1), model.model.layers[0].mlp.down_proj.weight)
    assert not gradient.any()


def test_two_micro_batches_make_the_gradient_of_one_batch(model: Any, rows: Any, tokenizer: Any) -> None:
    items = sum(label != -100 for row in rows[:4] for label in row.labels)

    def gradient(*parts: Any) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            supervised_loss(model, collate(part, tokenizer.pad_token_id), items).backward()  # type: ignore[no-untyped-call]
        found: torch.Tensor = model.model.layers[0].mlp.down_proj.weight.grad.clone()
        return found

    torch.testing.assert_close(gradient(rows[:4]), gradient(rows[:2], rows[2:4]), rtol=1e-3, atol=1e-6)


def of_lengths(*lengths: int) -> list[Example]:
    return [Row([1] * length, []) for length in lengths]


def packed_lengths(lengths: list[int], tokens: int, rows: int = 100) -> list[list[int]]:
    return [[lengths[i] for i in micro_batch] for micro_batch in pack(of_lengths(*lengths), tokens, rows)]


def test_micro_batches_are_packed_by_padded_tokens_and_a_longer_row_is_alone() -> None:
    assert packed_lengths([10, 300, 20, 100, 90], 200) == [[300], [100, 90], [20, 10]]
    assert packed_lengths([10, 300, 20, 100, 90], 1500) == [[300, 100, 90, 20, 10]]
    assert packed_lengths([10, 300, 20, 100, 90], 1500, rows=2) == [[300], [100, 90], [20, 10]]
    assert packed_lengths([100, 10, 10, 10, 10, 10], 400) == [[100], [10] * 5], "two are needed: with little padding"
    assert packed_lengths([5, 5], 1) == [[5], [5]]
    assert pack([], 100, 0) == []


def test_a_pair_counts_both_answers_at_the_width_of_the_longer_one() -> None:
    pairs: list[Example] = [Pair(Row([1] * 30, []), Row([1] * 10, [])), Pair(Row([1] * 20, []), Row([1] * 5, []))]
    assert pack(pairs, 120, 2) == [[0, 1]]
    assert pack(pairs, 119, 2) == [[0], [1]]


def test_packing_holds_for_any_lengths_and_needs_no_more_micro_batches_than_must_be() -> None:
    draw = random.Random(1)
    for _ in range(50):
        lengths = [draw.randint(1, 200) for _ in range(draw.randint(1, 40))]
        tokens, rows = draw.randint(100, 1500), draw.randint(1, 40)
        found = packed_lengths(lengths, tokens, rows)
        assert sorted(length for part in found for length in part) == sorted(lengths)
        assert all(len(part) == 1 or (len(part) <= rows and max(part) * len(part) <= tokens) for part in found)
        greedy: list[list[int]] = []
        for length in sorted(lengths, reverse=True):
            if greedy and len(greedy[-1]) < rows and greedy[-1][0] * (len(greedy[-1]) + 1) <= tokens:
                greedy[-1].append(length)
            else:
                greedy.append([length])
        assert len(found) == len(greedy)
        largest = largest_micro_batch(of_lengths(*lengths), tokens, rows)
        assert len(largest) * max(lengths[i] for i in largest) >= max(max(part) * len(part) for part in found)


def test_ranks_share_long_and_short_rows_and_the_last_batch_is_filled() -> None:
    lengths = list(range(1, 12))
    order = list(LengthGroupedSampler(lengths, 4, seed=1, ranks=2))
    assert len(order) == len(LengthGroupedSampler(lengths, 4, seed=1, ranks=2)) == 12
    assert sorted(order) == [NO_ROW, *range(11)] and order[-1] == NO_ROW
    alone = list(LengthGroupedSampler(lengths, 4, seed=1))
    for start in (0, 4, 8):
        batch = sorted(order[start : start + 4])
        assert [i for i in batch if i != NO_ROW] == sorted(alone[start : start + 4]), "the same steps"
    assert all(lengths[order[start]] > lengths[order[start + 3]] for start in (0, 4))


def test_steps_of_packed_micro_batches_equal_those_of_one_row_at_a_time(
    tiny_model: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a plain loop: the library's own loss, one row per forward pass, torch's AdamW; all in fp32.

    13 rows whose longest has 12 times the tokens of the shortest, in batches of 5: a step's rows take several
    micro-batches of different widths, and an epoch's last step has 3 rows.
    """
    from transformers import AutoModelForCausalLM

    from tunebase_trainer.model import precision
    from tunebase_trainer.model.lora import add_lora

    monkeypatch.setattr(precision, "compute_dtype", lambda: torch.float32)
    draw = random.Random(3)
    rows: list[Example] = []
    for length in (20, 20, 25, 30, 40, 45, 60, 70, 80, 100, 130, 180, 240):
        ids = [draw.randrange(256) for _ in range(length)]
        rows.append(Row(ids, [IGNORED] * (length // 3) + ids[length // 3 :]))
    batches: list[tuple[int, int]] = []
    made: list[Any] = []

    def watch(net: Any) -> None:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            if torch.is_grad_enabled():
                size, width = kwargs["input_ids"].shape
                batches.append((size, width))

        made.append(net)

        net.get_base_model().register_forward_pre_hook(hook, with_kwargs=True)

    outcome, told = run(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), tokenizer, rows, tmp_path,
        micro_batch_tokens=200, batch_size=5, validation=[], warmup=0, weight_decay=0.01, learning_rate=3e-3,
        prepare=watch,
    )  # fmt: skip
    assert len(batches) > 2 * outcome.steps == 12
    assert (1, 240) in batches and any(size > 1 for size, _ in batches), "longer than the budget: alone"
    assert all(size == 1 or size * width <= 200 for size, width in batches)
    assert sum(size for size, _ in batches) == 2 * len(rows)

    torch.manual_seed(0)
    net, _ = add_lora(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), rank=4, alpha=8, dropout=0)
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.01)
    sampler = LengthGroupedSampler([row.length for row in rows], 5, seed=1)
    step = 0
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        for start in range(0, len(order), 5):
            part = [rows[i].sequences[0] for i in order[start : start + 5]]
            items = sum(label != IGNORED for row in part for label in row.labels[1:])
            total = 0.0
            for row in part:
                logits = net(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum") / items
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss)
            norm = float(torch.nn.utils.clip_grad_norm_(trained, 1.0))
            assert told[step]["training_loss"] == pytest.approx(total, rel=1e-5)
            assert told[step]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 6)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    assert step == outcome.steps
    ours = [weight for weight in made[0].parameters() if weight.requires_grad]
    for mine, plain in zip(ours, trained, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-2, atol=1e-4)


@pytest.mark.usefixtures("bf16")
# @proves report-steps-as-tokens
def test_every_step_is_reported_with_bounded_progress_and_correct_units(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from tunebase_trainer.worker.protocol import Metric

    outcome, told = run(model, tokenizer, rows, tmp_path)
    assert [event["step"] for event in told] == [1, 2, 3, 4]
    assert [event["validation_loss"] is not None for event in told] == [False, True, False, True], "each epoch's end"
    assert outcome.steps == 4
    tokens = {step: event["trained_tokens"] for step, event in enumerate(told, 1)}
    for event in told:
        assert event["progress"] == pytest.approx(10 + 82 * event["trained_tokens"] / tokens[4]), "by tokens"
    assert told[0]["progress"] != pytest.approx(10 + 82 / 4), "not by steps"
    assert told[-1]["progress"] == 92 and told[-1]["seconds_left"] == 0
    assert outcome.trained_tokens == 2 * sum(len(row.input_ids) for row in rows)
    for event in told:
        Metric.model_validate({name: event[name] for name in Metric.model_fields})
    assert outcome.last_loss is not None and outcome.first_loss is not None
    assert outcome.last_loss < outcome.first_loss


def test_a_long_run_reports_every_validation_but_not_every_step(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    _, told = run(model, tokenizer, rows, tmp_path, total_steps=1000)  # so it thinks: it is over after 4
    assert [(event["step"], event["validation_loss"] is not None) for event in told] == [
        (1, False),
        (2, True),
        (4, True),
    ]


def test_a_long_run_logs_a_step_at_least_every_five_seconds(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebase_trainer.training.progress_callback.MAX_SECONDS_BETWEEN_LOGS", 0.0)
    _, told = run(model, tokenizer, rows, tmp_path, validation=[], total_steps=1000)
    assert [event["step"] for event in told] == [1, 2, 3, 4]


# @proves report-nan-in-finance
def test_a_non_finite_loss_stops_the_run(model: Any, tokenizer: Any, rows: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainerError) as caught:
        run(model, tokenizer, rows, tmp_path)
    assert caught.value.code == "non_finite_loss"
    assert "at step 1" in caught.value.message
    assert caught.value.hint.startswith("Lower learning_rate = 0.001: try 0.0005.")


def test_a_non_finite_gradient_is_never_applied_and_the_previous_checkpoint_is_kept(
    model: Any, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    trained: list[torch.Tensor] = []

    def poison(net: Any) -> None:
        trained.extend(weight for weight in net.parameters() if weight.requires_grad)
        calls = 0

        def hook(gradient: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return gradient * float("inf") if calls > 4 else gradient  # two micro-batches a step: in step 3

        trained[0].register_hook(hook)  # type: ignore[no-untyped-call]

    with pytest.raises(TrainerError) as caught:
        run(model, tokenizer, rows, tmp_path, prepare=poison, every=0.0)
    assert "at step 3" in caught.value.message and "The checkpoint of step 2 is kept" in caught.value.message
    assert all(bool(weight.isfinite().all()) for weight in trained)
    saved = load_file(tmp_path / "checkpoint-2" / "adapter_model.safetensors")
    assert sorted(float(tensor.sum()) for tensor in saved.values()) == pytest.approx(
        sorted(float(weight.sum()) for weight in trained)
    )


def rates(told: list[dict[str, Any]]) -> list[float]:
    return [event["learning_rate"] / 1e-3 for event in told if event["type"] == "step"]


def test_the_learning_rate_warms_up_and_decays_linearly(model: Any, tokenizer: Any, rows: Any, tmp_path: Path) -> None:
    # 8 steps, the first 2 of them warm-up; told is the rate of the step that was made.
    _, linear = run(model, tokenizer, rows, tmp_path / "a", warmup=2, num_epochs=4, validation=[])
    assert rates(linear) == pytest.approx([0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize(("rows", "warmup_steps", "expected"), [(3, None, 0), (3, 5, 0), (9, 5, 2), (9, None, 1)])
def test_warmup_leaves_a_step_with_a_learning_rate(rows: int, warmup_steps: int | None, expected: int) -> None:
    hyper = {"batch_size": 3, "num_epochs": 1, "warmup_steps": warmup_steps, "warmup_ratio": 0.05}
    schedule = make_schedule(hyper, Dataset(of_lengths(*[5] * rows)), None)
    assert schedule.warmup_steps == expected
    assert schedule.micro_batch_tokens == CPU_MICRO_BATCH_TOKENS


def test_the_learning_rate_can_follow_a_cosine(model: Any, tokenizer: Any, rows: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"num_epochs": 4, "lr_schedule": "cosine"}
    _, told = run(model, tokenizer, rows, tmp_path, warmup=2, validation=[], **changes)
    falling = [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert rates(told) == pytest.approx([0, 1 / 2, *falling])


def moved(net: Any) -> float:
    """How far the B matrices, which begin at 0, are from there."""
    return sum(float(weight.norm()) for name, weight in net.named_parameters() if "lora_B" in name)


def test_gradients_are_clipped_to_their_norm_and_not_when_it_is_0(
    tiny_model: Path, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    nets: list[Any] = []
    told = []
    for norm in (10.0, 1e-6, 0.0):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        place = tmp_path / str(norm)
        told.append(run(model, tokenizer, rows, place, prepare=nets.append, validation=[], max_grad_norm=norm)[1][0])
    plain, clipped, off = (event["gradient_norm"] for event in told)
    assert plain == pytest.approx(clipped) and plain == pytest.approx(off), "told is the norm before"
    assert 0 < plain < 10
    # Adam divides by the gradients' size, but for its epsilon: clipping to 1e-6 leaves less than that of most.
    plain, clipped, off = map(moved, nets)
    assert clipped < plain * 0.9 and off == plain


def test_weight_decay_and_seed_reach_the_optimizer_and_the_order(
    tiny_model: Path, tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    losses: list[list[float]] = []
    runs: list[dict[str, Any]] = [{}, {}, {"weight_decay": 1.0}, {"seed": 2}]
    for number, changes in enumerate(runs):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        _, told = run(model, tokenizer, rows, tmp_path / str(number), validation=[], **changes)
        losses.append([event["training_loss"] for event in told])
    assert losses[0] == losses[1]
    assert losses[2][:1] == losses[0][:1] and losses[2] != losses[0]
    assert losses[3] != losses[0]


def test_batches_of_similar_length_leave_little_for_packing_to_save() -> None:
    """Why rows are not joined. Lengths as real chat has them: about 1,650 tokens on average, a tenth over 3,000."""
    draw = random.Random(0)
    lengths = [min(8192, int(draw.lognormvariate(7.2, 0.65))) for _ in range(2000)]
    order = list(LengthGroupedSampler(lengths, 8, seed=42))
    assert sorted(order) == list(range(2000))
    batches = [[lengths[row] for row in order[start : start + 8]] for start in range(0, 2000, 8)]
    padding = 1 - sum(lengths) / sum(max(batch) * 8 for batch in batches)
    assert padding < 0.05
    shuffled = draw.sample(lengths, 2000)
    assert 1 - sum(lengths) / sum(max(shuffled[start : start + 8]) * 8 for start in range(0, 2000, 8)) > 0.4


# @proves report-hidden-oom
def test_memory_and_disk_errors_differ_from_unexpected_ones() -> None:
    assert to_trainer_error(torch.OutOfMemoryError()).code == "out_of_memory"
    assert to_trainer_error(OSError(28, "No space left on device")).code == "disk_full"
    unexpected = to_trainer_error(KeyError("secret detail"))
    assert unexpected.code == "internal_error"
    assert "secret detail" not in unexpected.message


@pytest.mark.parametrize(("rslora", "scale"), [(False, 16 / 64), (True, 16 / 8)])
def test_rslora_scales_by_the_ranks_root(model: Any, tmp_path: Path, rslora: bool, scale: float) -> None:
    import json

    from tunebase_trainer.model.lora import add_lora, save_adapter

    net, _ = add_lora(model, rank=64, alpha=16, dropout=0.0, rslora=rslora)
    scales = {module.scaling["default"] for module in net.modules() if hasattr(module, "lora_A")}
    assert scales == {scale}
    save_adapter(net, tmp_path / "adapter", "tiny", None)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["use_rslora"] is rslora, "so that every loader scales alike"
