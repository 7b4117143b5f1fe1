"""What lies beside an adapter: its tokenizer and chat template, a model card, the loss as a table and a picture."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.dataset import Dataset
from ..evaluation.samples import MAX_NEW_TOKENS, sample_answers
from ..training import metrics_log

# The ranks for which vLLM keeps room: the smallest that holds the adapter is its --max-lora-rank.
VLLM_RANKS = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class RunSummary:
    """What a model card tells."""

    base_model: str
    base_revision: str | None
    hyperparameters: dict[str, Any]
    data: Dataset
    validation: Dataset | None
    steps: list[dict[str, Any]]
    trained_tokens: int
    trainable_parameters: int
    versions: dict[str, str]


def write(output: Path, tokenizer: Any, summary: RunSummary) -> None:
    """Writes the files into the adapter's directory."""
    tokenizer.save_pretrained(str(output))
    (output / "loss.svg").write_text(metrics_log.as_svg(summary.steps))
    (output / "README.md").write_text(model_card(summary))


def write_samples(
    output: Path, net: Any, tokenizer: Any, summary: RunSummary, seconds: float, stop_requested: Callable[[], bool]
) -> str | None:
    """Answers up to five prompts before and after, into samples.json. Never raises: returns what went wrong, or None.

    The operator's TUNEBASE_SAMPLE_COUNT says how many; 0: none.
    """
    most = int(os.environ.get("TUNEBASE_SAMPLE_COUNT", "5"))
    source = "validation" if summary.validation and summary.validation.prompts else "training"
    prompts = (summary.validation if source == "validation" and summary.validation else summary.data).prompts[:most]
    if not prompts or stop_requested():
        return None
    try:
        found = sample_answers(net, tokenizer, prompts, seconds, stop_requested)
    except Exception as error:  # the adapter is there, and worth more than these
        return f"The sample answers could not be made ({type(error).__name__})."
    if not found:
        return None
    text = json.dumps(
        {"prompts_from": source, "max_new_tokens": MAX_NEW_TOKENS, "samples": found}, ensure_ascii=False, indent=2
    )
    # Half of a character, if a model should write one, is none in a file.
    (output / "samples.json").write_bytes((text + "\n").encode("utf-8", "replace"))
    return None


def model_card(summary: RunSummary) -> str:
    """The model card, in Markdown; its head is what Hugging Face's hub reads."""
    hyper, base = summary.hyperparameters, summary.base_model
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", base) is not None
    head = ["---", "library_name: peft", "pipeline_tag: text-generation", "tags: [lora, tunebase]"]
    if on_hub:
        head.append(f"base_model: {json.dumps(base)}")
    rank = next((room for room in VLLM_RANKS if room >= hyper["lora_rank"]), hyper["lora_rank"])
    losses = [step["training_loss"] for step in summary.steps if step["training_loss"] is not None]
    validated = [step["validation_loss"] for step in summary.steps if step["validation_loss"] is not None]
    dpo = f"direct preference optimization (DPO), beta {hyper['beta']:g}" if hyper.get("method") == "dpo" else ""
    facts = {
        "method": dpo or "supervised",
        "base model": f"`{base}`" + (f", revision `{summary.base_revision}`" if summary.base_revision else ""),
        "data": summary.data.describe(),
        "chat template": f"SHA-256 `{summary.data.template_sha256}`, in `chat_template.jinja`",
        "validation": summary.validation.describe() if summary.validation else "none",
        "trained tokens": f"{summary.trained_tokens}",
        "trainable parameters": f"{summary.trainable_parameters:,}",
        "training loss": f"{losses[0]:.4f} at first, {losses[-1]:.4f} at last" if losses else "not known",
    }
    if validated:
        facts["validation loss"] = f"{validated[0]:.4f} at first, {validated[-1]:.4f} at last"
    base_code = json.dumps(base)
    revision = f", revision={json.dumps(summary.base_revision)}" if on_hub and summary.base_revision else ""
    warnings = [f"- {warning}" for warning in summary.data.warnings(hyper["max_length"])]
    return "\n".join(
        [
            *head,
            "---",
            "",
            f"# A LoRA adapter of {base.removeprefix('package:').rstrip('/').split('/')[-1]}",
            "",
            *_table({name: str(value) for name, value in facts.items()}),
            "",
            *([*warnings, ""] if warnings else []),
            "![Loss by step](loss.svg)",
            "",
            "`samples.json`, where it is, has a few prompts answered by the base model and by this adapter. "
            "`manifest.json` has each file's SHA-256. Each logged step is in the job's result file.",
            "",
            "## Use it",
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained(".")  # this directory',
            f'base = AutoModelForCausalLM.from_pretrained({base_code}{revision}, dtype="bfloat16")',
            'model = PeftModel.from_pretrained(base, ".")',
            "```",
            "",
            "```",
            f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules tuned=. "
            "--chat-template chat_template.jinja",
            "```",
            "",
            *(
                ["(`package:` names a model that the trainer's environment carries; give its directory there.)", ""]
                if base.startswith("package:")
                else []
            ),
            "## Hyperparameters",
            "",
            *_table({name: str(value) for name, value in hyper.items() if not name.startswith("base_")}),
            "",
            "## Versions",
            "",
            *_table(summary.versions),
            "",
        ]
    )


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())]
