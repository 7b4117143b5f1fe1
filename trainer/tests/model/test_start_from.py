"""Training on from an earlier fine-tune: its adapter is what the new run begins with, or the run does not begin."""

from __future__ import annotations

import asyncio
import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support import tiny
from support.attempts import ended
from support.fake_tunebase import FakeTunebase, describe, run_input

from handler import handler
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import lora

ROWS, EPOCHS = 24, 3
"""Of the earlier fine-tune, and of a run that continues from it."""


def adapted(tiny_model: Path, rank: int = 4) -> PeftModel:
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return lora.add_lora(base, rank=rank, alpha=8, dropout=0.0)[0]


def answer(net: PeftModel) -> Any:
    with torch.no_grad():
        return net(input_ids=torch.arange(1, 20).unsqueeze(0)).logits


def test_the_earlier_adapter_replaces_the_fresh_one(tiny_model: Path, tmp_path: Path) -> None:
    earlier, fresh = adapted(tiny_model), adapted(tiny_model)
    with torch.no_grad():
        for name, weight in earlier.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                weight.normal_()
    lora.save_adapter(earlier, tmp_path, "tiny", None)
    assert not torch.allclose(answer(fresh), answer(earlier))
    lora.load_earlier_adapter(fresh, tmp_path)
    torch.testing.assert_close(answer(fresh), answer(earlier))
    assert any(weight.requires_grad for weight in fresh.parameters())


def test_an_adapter_of_another_shape_is_rejected(tiny_model: Path, tmp_path: Path) -> None:
    lora.save_adapter(adapted(tiny_model, rank=8), tmp_path, "tiny", None)
    with pytest.raises(TrainerError) as caught:
        lora.load_earlier_adapter(adapted(tiny_model), tmp_path)
    assert caught.value.code == "invalid_input"
    assert "lora_rank" in caught.value.hint


@pytest.fixture(scope="module")
def earlier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest of a run, and its adapter's files."""

    async def run() -> tuple[dict[str, Any], dict[str, bytes]]:
        async with FakeTunebase() as tunebase:
            tunebase.serve("rows.jsonl", tiny.rows(ROWS).encode())
            given = {"id": "rp-1", "input": run_input(tunebase, str(tiny_model), num_epochs=EPOCHS)}
            output = await ended(asyncio.create_task(handler(given)), directory)
            return output["manifest"], {p: data for p, data in tunebase.stored.items() if p.startswith("adapter_")}

    directory = tmp_path_factory.mktemp("earlier")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TUNEBASE_TRAIN_COMMAND", raising=False)
        patch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
        patch.setenv("TUNEBASE_WORK_DIR", str(directory / "work"))
        manifest, files = asyncio.run(run())
    assert len(files) == 2
    return manifest, files


def serve(tunebase: FakeTunebase, files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{**describe(path, data), "url": tunebase.serve(path, data)} for path, data in files.items()]


async def test_a_run_starts_from_the_earlier_adapter_and_fails_if_that_is_missing(
    tunebase: FakeTunebase,
    earlier: tuple[dict[str, Any], dict[str, bytes]],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TUNEBASE_TRAIN_COMMAND", raising=False)
    first, files_by_path = earlier
    tunebase.serve("rows.jsonl", tiny.rows(ROWS).encode())
    given = {"id": "rp-1", "input": run_input(tunebase, str(tiny_model), num_epochs=EPOCHS)}

    async def run() -> dict[str, Any]:
        return await ended(asyncio.create_task(handler(given)), tmp_path)

    files = serve(tunebase, files_by_path)
    tunebase.claim = {"start_from": {"files": files}, "fence": 2}
    second = await run()
    assert second["status"] == "completed", second
    said = [event["message"] for event in tunebase.reported("events")]
    assert "Training starts from the earlier fine-tune's adapter." in said
    losses = [manifest["first_loss"] for manifest in (first, second["manifest"])]
    assert losses[1] < (losses[0] + first["last_loss"]) / 2, losses

    tunebase.claim = {"start_from": {"files": [files[0] | {"sha256": hashlib.sha256(b"other").hexdigest()}]}}
    third = await run()
    assert third["error_code"] == "dataset_unreachable"
    assert "The earlier adapter's file" in third["error"]


async def test_dpo_continues_from_an_earlier_fine_tune_and_the_manifest_says_so(
    tunebase: FakeTunebase,
    earlier: tuple[dict[str, Any], dict[str, bytes]],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TUNEBASE_TRAIN_COMMAND", raising=False)
    first, files_by_path = earlier
    files = serve(tunebase, files_by_path)
    tunebase.serve("rows.jsonl", tiny.pairs(24).encode())
    tunebase.claim = {"start_from": {"files": files}, "fence": 2}
    input_ = run_input(tunebase, str(tiny_model), num_epochs=2, method="dpo", beta=0.3)
    second = await ended(asyncio.create_task(handler({"id": "rp-2", "input": input_})), tmp_path)
    assert second["status"] == "completed", second
    manifest = second["manifest"]
    assert (manifest["hyperparameters"]["method"], manifest["hyperparameters"]["beta"]) == ("dpo", 0.3)
    assert (first["hyperparameters"]["method"], manifest["rows"]) == ("supervised", 24)
    assert manifest["first_loss"] == pytest.approx(math.log(2), abs=0.02), "measured from the earlier adapter"
    assert manifest["last_loss"] < manifest["first_loss"] - 0.1
