"""When the GPU's memory is too small: fewer tokens at once, the same batch; or an error that says what would fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.short_run import run

from tunebase_trainer.data.dataset import Example, Row, read
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.training.oom import next_smaller_micro_batch, out_of_memory_error


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture(scope="module")
def rows(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(tiny.rows(16))
    return read(path, tiny_tokenizer, 512).rows


class Gpu:
    """Has room for `fits` padded tokens at once, from the `after`-th micro-batch on."""

    def __init__(self, fits: int, after: int = 0, error: Exception | None = None) -> None:
        self.fits, self.after = fits, after
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.batches: list[tuple[int, int]] = []
        """Rows and width of each micro-batch that is trained on."""

    @property
    def sizes(self) -> list[int]:
        return [rows * width for rows, width in self.batches]

    def watch(self, net: Any) -> None:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            rows, width = kwargs["input_ids"].shape
            if torch.is_grad_enabled():
                self.batches.append((rows, width))
            if rows * width > self.fits and len(self.batches) > self.after:
                raise self.error

        net.get_base_model().register_forward_pre_hook(hook, with_kwargs=True)


def longest_of(rows: Any) -> int:
    return max(len(row.input_ids) for row in rows)


def steps(told: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    return [
        (event["step"], event["training_loss"], event["gradient_norm"]) for event in told if event["type"] == "step"
    ]


def warnings(told: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in told if event["type"] == "log" and event["level"] == "warn"]


def test_the_micro_batch_is_halved_until_it_fits_and_the_run_equals_one_that_started_so(
    tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    longest = longest_of(rows)
    small, full = Gpu(2 * longest), Gpu(8 * longest)
    settings: dict[str, Any] = {"batch_size": 8, "dropout": 0.1}
    outcome, told = run(load(), tiny_tokenizer, rows, tmp_path / "a", micro=8, prepare=small.watch, **settings)
    expected, plain = run(load(), tiny_tokenizer, rows, tmp_path / "b", micro=2, prepare=full.watch, **settings)
    count = len(full.batches)
    assert small.batches[-count:] == full.batches and max(full.sizes) <= 2 * longest
    assert sum(size for size, _ in full.batches) == 2 * len(rows), "8 rows per step"
    assert [size > 2 * longest for size in small.sizes].count(True) == 2, "each of them failed"
    start = "The GPU ran out of memory. Training continues from the start with micro-batches of up to"
    assert warnings(told) == [f"{start} {n * longest} tokens; batch_size stays 8." for n in (4, 2)]
    assert steps(told) == steps(plain) and outcome == expected


def test_other_errors_of_the_gpu_are_not_tried_again(
    model: Any, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    broken = Gpu(0, error=RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(model, tiny_tokenizer, rows[:8], tmp_path, micro=8, batch_size=8, prepare=broken.watch)
    assert [size for size, _ in broken.batches] == [8]


CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def test_memory_that_cublas_did_not_get_counts_too_and_other_errors_do_not(
    model: Any, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from tunebase_trainer.worker.error_mapping import to_trainer_error

    longest = longest_of(rows[:8])
    gpu = Gpu(4 * longest, error=RuntimeError(CUBLAS))
    _, told = run(model, tiny_tokenizer, rows[:8], tmp_path / "a", micro=8, batch_size=8, prepare=gpu.watch)
    assert gpu.batches[0] == (8, longest) and max(gpu.sizes[1:]) <= 4 * longest and len(warnings(told)) == 1
    assert to_trainer_error(RuntimeError(CUBLAS)).code == "out_of_memory"
    other = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert to_trainer_error(other).code == "internal_error"


def test_it_continues_from_the_newest_checkpoint_and_the_next_worker_starts_with_what_fits(
    tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from tunebase_trainer.training.checkpoint_state import load_state

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    # 4 rows per step, in one micro-batch: the third step, of the first epoch's four, is too much.
    half = 2 * longest_of(rows)
    gpu = Gpu(half, after=2)
    outcome, told = run(load(), tiny_tokenizer, rows, tmp_path / "a", micro=4, prepare=gpu.watch, every=0.0)
    assert [size for size, _ in gpu.batches[:3]] == [4, 4, 4] and max(gpu.sizes[3:]) <= half
    assert sum(size for size, _ in gpu.batches[3:]) == 6 * 4
    (warning,) = warnings(told)
    assert f"continues from step 2 with micro-batches of up to {half} tokens" in warning
    assert [step for step, _, _ in steps(told)] == list(range(1, 9))
    assert outcome.trained_tokens == 2 * sum(len(row.input_ids) for row in rows), "counted once"
    _, plain = run(load(), tiny_tokenizer, rows, tmp_path / "b", micro=4, prepare=Gpu(2 * half).watch)
    assert [loss for _, loss, _ in steps(told)] == pytest.approx([loss for _, loss, _ in steps(plain)], rel=1e-2)

    newest = tmp_path / "a" / "checkpoint-6"
    heir = Gpu(half)
    resume = newest, load_state(newest, {})
    run(load(), tiny_tokenizer, rows, tmp_path / "c", micro=4, prepare=heir.watch, resume=resume)
    assert len(heir.batches) >= 4 and sum(size for size, _ in heir.batches) == 2 * 4


def test_a_row_that_does_not_fit_alone_is_an_error_with_values_that_would_fit(
    model: Any, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    longest = max(len(row.input_ids) for row in rows)
    assert 64 < longest < 128
    with pytest.raises(TrainerError) as caught:
        run(model, tiny_tokenizer, rows, tmp_path, prepare=Gpu(0).watch)
    assert caught.value.code == "out_of_memory"
    assert f"even with one row of {longest} tokens at a time" in caught.value.message
    assert "(batch_size = 4, lora_rank = 8, max_length = 512)" in caught.value.message
    assert caught.value.hint == "lora_rank = 8: try 4; or use a smaller base model."
    hyper = {"max_length": 2048, "lora_rank": 16, "batch_size": 4, "quantization": "none"}
    long = out_of_memory_error([Row([1] * 1800, [])], hyper).hint
    assert long.startswith("quantization = none: try nf4; lora_rank = 16: try 8; max_length = 2048: try 896; or use")


def test_the_largest_micro_batch_is_probed_before_the_first_step_without_changing_the_run(
    tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    told = []
    longest = longest_of(rows)
    tokens = 2 * longest - 1  # the longest is alone, and the most tokens are those of two shorter ones
    gpus = [Gpu(tokens), Gpu(tokens)]
    for number, probe in enumerate((False, True)):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        gpu, place = gpus[number], tmp_path / str(number)
        changes: dict[str, Any] = {"dropout": 0.1, "micro_batch_tokens": tokens, "probe_largest": probe}
        told.append(run(model, tiny_tokenizer, rows, place, prepare=gpu.watch, **changes)[1])
    largest, alone, *trained = gpus[1].batches
    assert trained == gpus[0].batches
    assert alone == (1, longest)
    assert largest[0] > 1 and max(gpus[0].sizes) <= largest[0] * largest[1] <= tokens
    assert steps(told[0]) == steps(told[1])
    assert [event["trained_tokens"] for event in told[0]] == [event["trained_tokens"] for event in told[1]]


def test_a_micro_batch_is_halved_down_to_the_longest_row() -> None:
    rows: list[Example] = [Row([1] * length, []) for length in (100, 90, 30, 20, 10)]
    assert next_smaller_micro_batch(rows, 16_384, 5) == 250, "half of 5 × 100, which was the most"
    assert next_smaller_micro_batch(rows, 250, 5) == 100, "not half of 2 × 100"
    assert next_smaller_micro_batch(rows, 100, 5) is None
    assert next_smaller_micro_batch(rows, 16_384, 1) is None
