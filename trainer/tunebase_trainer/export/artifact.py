"""Writes the files that accompany an adapter: tokenizer and chat template, model card, loss curve, sample answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..evaluation.answers import MAX_NEW_TOKENS
from .loss_chart import render_svg
from .model_card import model_card
from .run_summary import RunSummary


def write(output: Path, tokenizer: Any, summary: RunSummary) -> None:
    """Writes the files into the adapter's directory."""
    tokenizer.save_pretrained(str(output))
    (output / "loss.svg").write_text(render_svg(summary.steps))
    (output / "README.md").write_text(model_card(summary))


def write_samples(output: Path, samples: list[dict[str, Any]], source: str) -> None:
    """Writes the answers of base and fine-tuned model to samples.json; `source`: which rows the prompts are from."""
    text = json.dumps(
        {"prompts_from": source, "max_new_tokens": MAX_NEW_TOKENS, "samples": samples}, ensure_ascii=False, indent=2
    )
    # A model could generate a lone surrogate, which cannot be encoded.
    (output / "samples.json").write_bytes((text + "\n").encode("utf-8", "replace"))
