"""A finished run, for its model card and its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..contract import Evaluation
from ..data.dataset import Dataset


@dataclass(frozen=True)
class RunSummary:
    """The contents of a model card."""

    base_model: str
    base_revision: str | None
    hyperparameters: dict[str, Any]
    data: Dataset
    validation: Dataset | None
    steps: list[dict[str, Any]]
    trained_tokens: int
    trainable_parameters: int
    versions: dict[str, str]
    evaluation: Evaluation | None = None
    base_on_gpus: int = 1
    """How many GPUs the base model was sharded across."""
