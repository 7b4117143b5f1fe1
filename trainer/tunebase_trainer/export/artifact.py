"""Writes what accompanies an adapter: tokenizer and chat template, model card, loss curve, sample answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..evaluation.samples import MAX_NEW_TOKENS, sample_answers
from .loss_chart import render_svg
from .model_card import model_card
from .run_summary import RunSummary


def write(output: Path, tokenizer: Any, summary: RunSummary) -> None:
    """Writes the files into the adapter's directory."""
    tokenizer.save_pretrained(str(output))
    (output / "loss.svg").write_text(render_svg(summary.steps))
    (output / "README.md").write_text(model_card(summary))


def write_samples(
    output: Path, net: Any, tokenizer: Any, summary: RunSummary, seconds: float, stop_requested: Callable[[], bool]
) -> str | None:
    """Writes answers of the base model and the adapter to samples.json. Never raises: returns the problem, or None.

    The operator sets the number of prompts with TUNEBASE_SAMPLE_COUNT (default 5; 0: none).
    """
    count = int(os.environ.get("TUNEBASE_SAMPLE_COUNT", "5"))
    source = "validation" if summary.validation and summary.validation.prompts else "training"
    prompts = (summary.validation if source == "validation" and summary.validation else summary.data).prompts[:count]
    if not prompts or stop_requested():
        return None
    try:
        samples = sample_answers(net, tokenizer, prompts, seconds, stop_requested)
    except Exception as error:  # the adapter is saved, and worth more than these
        return f"The sample answers could not be generated ({type(error).__name__})."
    if not samples:
        return None
    text = json.dumps(
        {"prompts_from": source, "max_new_tokens": MAX_NEW_TOKENS, "samples": samples}, ensure_ascii=False, indent=2
    )
    # A lone surrogate, should a model generate one, cannot be encoded.
    (output / "samples.json").write_bytes((text + "\n").encode("utf-8", "replace"))
    return None
