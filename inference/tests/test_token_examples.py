"""The API and the worker accept the same tokens: tests/fixtures/inference_tokens.json has examples for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tunebase_inference.token import Claims

EXAMPLES = json.loads((Path(__file__).parents[2] / "tests/fixtures/inference_tokens.json").read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["why"])
def test_accepts_or_rejects_an_example_as_declared(example: dict[str, Any]) -> None:
    if example["valid"]:
        Claims.model_validate(example["value"])
    else:
        with pytest.raises(ValidationError):
            Claims.model_validate(example["value"])
