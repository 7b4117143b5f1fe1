"""The handler called directly through RunPod, without an address to report to: a real training, a plain adapter."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from support.fake_tunebase import SCHEMAS, FakeTunebase, run_input
from support.paths import SUPPORT

from handler import handler


def direct(tunebase: FakeTunebase, base_model: Path, **hyperparameters: Any) -> dict[str, Any]:
    given = run_input(tunebase, str(base_model), **hyperparameters)
    return {name: value for name, value in given.items() if not name.startswith("callback_")}


@pytest.mark.usefixtures("bf16")
# @proves others-empty-weights
async def test_a_tiny_training_produces_an_adapter_that_stock_peft_loads_and_that_has_learned(
    tunebase: FakeTunebase, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "1")
    monkeypatch.setenv("TUNEBASE_EVALUATION_SECONDS", "2")
    output = await handler({"id": "rp-1", "input": direct(tunebase, tiny_model, lora_rank=8)})
    assert output["status"] == "completed", output
    assert (output["progress"], output["metrics"]["step"]) == (100, 12)
    manifest = output["manifest"]
    assert manifest["last_loss"] < manifest["first_loss"]
    assert manifest["evaluation"]["tuned"]["loss"] < manifest["evaluation"]["base"]["loss"]
    place = Path(output["adapter_path"])
    assert {file["path"]: file["bytes"] for file in manifest["files"]} == {
        file.name: file.stat().st_size for file in place.iterdir()
    }
    assert len(manifest["files"]) == 8
    assert [item.name for item in place.parent.iterdir()] == ["adapter"], "the rest is cleaned up"
    assert tunebase.calls == []

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    inputs = torch.arange(40).reshape(1, 40)
    before = base(input_ids=inputs).logits
    tuned = PeftModel.from_pretrained(base, place)
    assert sum(p.numel() for n, p in tuned.named_parameters() if "lora_" in n) == manifest["trainable_parameters"]
    assert not torch.allclose(tuned(input_ids=inputs).logits, before)


async def test_invalid_input_is_a_failure_that_names_the_field(tunebase: FakeTunebase, tiny_model: Path) -> None:
    output = await handler({"id": "rp-1", "input": direct(tunebase, tiny_model, batch_size=0)})
    assert (output["status"], output["error_code"]) == ("failed", "invalid_input")
    assert "hyperparameters.batch_size = '0'" in output["error"]


@pytest.mark.parametrize(
    ("data", "code"), [(b"not json\n", "invalid_dataset"), (b"", "dataset_unreachable"), (None, "dataset_unreachable")]
)
async def test_unusable_data_is_a_failure_with_a_code_and_leaves_no_files(
    tunebase: FakeTunebase, tiny_model: Path, tmp_path: Path, data: bytes | None, code: str
) -> None:
    tunebase.files.clear()
    if data is not None:
        tunebase.serve("rows.jsonl", data)
    output = await handler({"id": "rp-1", "input": direct(tunebase, tiny_model)})
    assert (output["status"], output["error_code"]) == ("failed", code)
    assert output["hint"]
    assert not list((tmp_path / "work").iterdir())


async def test_called_directly_polling_shows_progress_in_order_and_nothing_after_the_result(
    tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RunPod keeps the last update: one that arrives late, or after the result, would replace it."""
    stub = SUPPORT / "stub_training.py"
    monkeypatch.setenv("TUNEBASE_TRAIN_COMMAND", f"'{sys.executable}' -u '{stub}'")
    monkeypatch.setenv("RUNPOD_WEBHOOK_POST_OUTPUT", tunebase.runpod_url)
    monkeypatch.setattr("runpod.serverless.modules.rp_http.JOB_DONE_URL", tunebase.runpod_url)
    monkeypatch.setattr("tunebase_trainer.worker.runpod_progress.PROGRESS_SECONDS", 0.1)
    tunebase.serve("rows.jsonl", json.dumps({"steps": 20}).encode())
    # Slower than their rhythm, and each as slow as may be: the last is under way when the training ends.
    tunebase.runpod_delays = [0.3, 0.0, 0.25] * 100
    output = await handler({"id": "rp-1", "input": direct(tunebase, tiny_model)})
    assert output["status"] == "completed"
    updates = len(tunebase.runpod)
    await asyncio.sleep(0.5)
    assert (len(tunebase.runpod), tunebase.runpod_busy, tunebase.runpod_most) == (updates, 0, 1)
    assert updates >= 3
    shown = [body["output"] for body in tunebase.runpod]
    for progress in shown:
        jsonschema.Draft202012Validator(SCHEMAS["HandlerProgress"]).validate(progress)
    assert {body["status"] for body in tunebase.runpod} == {"IN_PROGRESS"}
    assert [p["progress"] for p in shown] == sorted(p["progress"] for p in shown)
    assert shown[-1]["current_step"] > shown[0]["current_step"] == 0
    assert tunebase.calls == []
