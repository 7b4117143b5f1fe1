"""The model card, in Markdown; Hugging Face's hub reads its front matter."""

from __future__ import annotations

import json
import re

from ..evaluation.evaluator import describe_rows, describe_scores
from ..model.lora_variants import adapter_rank
from ..training.gpu_memory import FORMAT_NAMES
from .run_summary import RunSummary

# vLLM's values of --max-lora-rank; an adapter needs the smallest that is at least its rank.
VLLM_RANKS = (8, 16, 32, 64, 128, 256)

FILES = (
    "`samples.json`, if present, has a few prompts answered by the base model and by this adapter. `manifest.json` has "
    "each file's SHA-256. Every logged step is in the job's result file."
)
PACKAGE_NOTE = "(`package:` is a model inside the trainer's environment; use its directory instead.)"


def model_card(summary: RunSummary) -> str:
    hyper, base = summary.hyperparameters, summary.base_model
    warnings = [f"- {warning}" for warning in summary.data.warnings(hyper["max_length"])]
    return "\n".join(
        [
            *_front_matter(base),
            "",
            f"# A LoRA adapter for {base.removeprefix('package:').rstrip('/').split('/')[-1]}",
            "",
            *_table(_facts(summary)),
            "",
            *([*warnings, ""] if warnings else []),
            "![Loss by step](loss.svg)",
            "",
            *_evaluation(summary),
            FILES,
            "",
            *_usage(summary),
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


def _evaluation(summary: RunSummary) -> list[str]:
    if summary.evaluation is None:
        return []
    scores = describe_scores(summary.evaluation)
    return [
        "## Evaluation",
        "",
        "| | base | fine-tuned |",
        "| --- | --- | --- |",
        *(f"| {label} | {base} | {tuned} |" for label, (base, tuned) in scores.items()),
        "",
        f"Evaluated: {describe_rows(summary.evaluation)}.",
        "",
    ]


def _is_hub_id(base: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", base) is not None


def _front_matter(base: str) -> list[str]:
    lines = ["---", "library_name: peft", "pipeline_tag: text-generation", "tags: [lora, tunebase]"]
    return [*lines, *([f"base_model: {json.dumps(base)}"] if _is_hub_id(base) else []), "---"]


def _facts(summary: RunSummary) -> dict[str, str]:
    hyper, data, validation = summary.hyperparameters, summary.data, summary.validation
    is_dpo = hyper.get("method") == "dpo"
    facts = {
        "method": f"direct preference optimization (DPO), beta {hyper['beta']:g}" if is_dpo else "supervised",
        "base model": f"`{summary.base_model}`"
        + (f", revision `{summary.base_revision}`" if summary.base_revision else ""),
        "base model trained in": FORMAT_NAMES[hyper["quantization"]],
        "data": data.describe(),
        "chat template": f"SHA-256 `{data.template_sha256}`, in `chat_template.jinja`",
        "validation": validation.describe() if validation else "none",
        "trained tokens": str(summary.trained_tokens),
        "trainable parameters": f"{summary.trainable_parameters:,}",
        "training loss": _first_and_last(summary, "training_loss"),
    }
    if any(step["validation_loss"] is not None for step in summary.steps):
        facts["validation loss"] = _first_and_last(summary, "validation_loss")
    return facts


def _first_and_last(summary: RunSummary, name: str) -> str:
    losses = [step[name] for step in summary.steps if step[name] is not None]
    return f"{losses[0]:.4f} first, {losses[-1]:.4f} last" if losses else "unknown"


def _usage(summary: RunSummary) -> list[str]:
    base, rank = summary.base_model, summary.hyperparameters["lora_rank"]
    variant = summary.hyperparameters.get("lora_variant", "lora")
    rank = adapter_rank(variant, rank)
    max_rank = next((supported for supported in VLLM_RANKS if supported >= rank), rank)
    serving = (
        f"vllm serve {base} --enable-lora --max-lora-rank {max_rank} --lora-modules tuned=. "
        "--chat-template chat_template.jinja"
    )
    if variant == "dora":
        serving = "# vLLM does not serve DoRA adapters: merge this one with PeftModel.merge_and_unload()"
    pinned = _is_hub_id(base) and summary.base_revision
    revision = f", revision={json.dumps(summary.base_revision)}" if pinned else ""
    return [
        "## Usage",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")  # this directory',
        f'base = AutoModelForCausalLM.from_pretrained({json.dumps(base)}{revision}, dtype="bfloat16")',
        'model = PeftModel.from_pretrained(base, ".")',
        "```",
        "",
        "```",
        serving,
        "```",
        "",
        *([PACKAGE_NOTE, ""] if base.startswith("package:") else []),
    ]


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())]
