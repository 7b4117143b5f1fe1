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
from tunebase_trainer.contract import METRICS
from tunebase_trainer.data.dataset import Dataset, Prompt, Row
from tunebase_trainer.evaluation import samples
from tunebase_trainer.export import artifact, loss_chart, merged, model_card
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
    assert [len(line.attrib["points"].split()) for line in lines] == [12, 2], "training, validation"

    found = json.loads(stored["samples.json"])
    assert (found["prompts_from"], len(found["samples"])) == ("validation", 5)
    assert found["samples"][0]["prompt"] == "very short question 1"
    assert all(isinstance(sample[side], str) for sample in found["samples"] for side in ("base", "tuned"))

    text = stored["README.md"].decode()
    for said in (
        "| data | 24 rows, ",
        f"`{manifest['chat_template_sha256']}`",
        "PeftModel.from_pretrained(base",
        "--max-lora-rank 8 ",
        "![Loss by step](loss.svg)",
        "| learning_rate | 0.001 |",
        "| transformers | 5.",
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
    problem = merged.write(tmp_path, tiny_model, tmp_path, tiny.make_tokenizer(), ["merged"])
    assert problem is not None and problem.startswith("Skipped the merged weights: ")
    assert not (tmp_path / "merged").exists()


async def test_without_validation_samples_come_from_the_training_rows(
    tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "2")
    tunebase.serve("rows.jsonl", tiny.rows(4).encode())
    await handler({"id": "rp-1", "input": run_input(tunebase, str(tiny_model), num_epochs=1)})
    found = json.loads(tunebase.stored["samples.json"])
    assert (found["prompts_from"], len(found["samples"])) == ("training", 2)


def summary(**changes: Any) -> RunSummary:
    row = Row([1, 2, 3], [-100, 2, 3])
    data = Dataset(rows=[row], conversations=1, template_sha256="ab", prompts=[Prompt(1, "hi", "hi", "ok")])
    given: dict[str, Any] = {
        "base_model": "org/Model-7B",
        "base_revision": "c0ffee",
        "hyperparameters": {"base_model": "org/Model-7B", "lora_rank": 12, "max_length": 64},
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
    assert text.startswith("---\nlibrary_name: peft\n") and 'base_model: "org/Model-7B"\n---' in text
    assert 'from_pretrained("org/Model-7B", revision="c0ffee"' in text
    assert "--max-lora-rank 16 " in text, "the smallest room that holds rank 12"
    other = model_card.model_card(summary(base_model="/models/mine"))
    assert "base_model:" not in other and "# A LoRA adapter for mine" in other


def test_failed_samples_are_a_warning_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBASE_SAMPLE_COUNT", "5")

    class Broken:
        def eval(self) -> None:
            raise RuntimeError("secret")

    problem = artifact.write_samples(tmp_path, Broken(), tiny.make_tokenizer(), summary(), 1, lambda: False)
    assert problem == "The sample answers could not be generated (RuntimeError)."
    assert not list(tmp_path.iterdir())
    assert artifact.write_samples(tmp_path, Broken(), tiny.make_tokenizer(), summary(), 1, lambda: True) is None


def test_sample_answers_stop_at_their_deadline_or_when_the_worker_stops(tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    tokenizer = tiny.make_tokenizer()
    prompts = [Prompt(n, f"{n}", f"question {n} " * n, "x") for n in (1, 2)]
    too_long = Prompt(3, "long", "x" * (samples.MAX_PROMPT_TOKENS + 1), "x")
    whole = samples.sample_answers(net, tokenizer, [*prompts, too_long], 600, lambda: False)
    assert [sample["line"] for sample in whole] == [1, 2], "a prompt that is too long is left out"
    # A fresh adapter changes nothing: both sides say the same, in spite of the padding of the shorter prompt.
    assert all(sample["base"] == sample["tuned"] for sample in whole)
    assert [samples.sample_answers(net, tokenizer, [one], 600, lambda: False)[0]["base"] for one in prompts] == [
        sample["base"] for sample in whole
    ]
    cut = samples.sample_answers(net, tokenizer, prompts, 600, lambda: True)
    assert not any(sample["tuned_finished"] for sample in cut)
    assert all(len(sample[side]) <= 1 for sample in cut for side in ("base", "tuned")), "one token a side"


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
