"""The rows of a run: those to train on, and those to validate with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..text import counted
from . import dataset
from .dataset import Dataset
from .split import split


def read_training_data(
    spec: dict[str, Any], hyper: dict[str, Any], tokenizer: Any, log: Callable[[str, str], None]
) -> tuple[Dataset, Dataset | None]:
    """Reads the dataset, and the validation data or `validation_split` of the rows. `log`: message, level."""
    max_length, method = hyper["max_length"], hyper.get("method", "supervised")
    data = dataset.read(Path(spec["dataset"]), tokenizer, max_length, method=method)
    validation: Dataset | None
    if spec["validation"]:
        validation = dataset.read(Path(spec["validation"]), tokenizer, max_length, "The validation data", method)
    else:
        data, validation = split(data, hyper["validation_split"], hyper["seed"])
        if validation:
            held_out, total = validation.conversations, data.conversations + validation.conversations
            log(f"{held_out} of {counted(total, 'row')} held out for validation (validation_split).", "info")
    for prefix, rows in (("", data), ("Validation: ", validation)):
        for warning in rows.warnings(max_length) if rows else []:
            log(prefix + warning, "warn")
    return data, validation
