"""vLLM's command line, and the settings that it is built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebase_inference.engine_command import engine_command, engine_environment
from tunebase_inference.settings import Settings

ENVIRONMENT = {
    "TUNEBASE_INFERENCE_SECRET": "0123456789abcdef0123456789abcdef",
    "RUNPOD_ENDPOINT_ID": "endpoint-1",
    "TUNEBASE_BASE_MODEL": "org/base",
    "TUNEBASE_BASE_REVISION": "abc",
}


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_one_slot_more_than_adapters_in_a_batch() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    command = engine_command(settings, {"TUNEBASE_MAX_LORAS": "4", "TUNEBASE_VLLM_ARGS": "--dtype 'float 16'"})
    assert command[:5] == ["vllm", "serve", "org/base", "--served-model-name", "base"]
    assert option(command, "--max-loras") == "5"
    assert int(option(command, "--max-cpu-loras")) >= 5
    assert option(command, "--max-lora-rank") == "64"
    assert option(command, "--revision") == "abc"
    assert command[-2:] == ["--dtype", "float 16"]


def test_a_local_base_has_no_revision() -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "TUNEBASE_BASE_PATH": "/models/base"})
    assert "--revision" not in engine_command(settings, {})
    assert (settings.base_model, settings.base_revision, settings.base_path) == ("org/base", "abc", "/models/base")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TUNEBASE_INFERENCE_SECRET": ""}, "TUNEBASE_INFERENCE_SECRET"),
        ({"TUNEBASE_INFERENCE_SECRET": "short"}, "too short"),
        ({"RUNPOD_ENDPOINT_ID": ""}, "RUNPOD_ENDPOINT_ID"),
        ({"TUNEBASE_MAX_LORA_RANK": "12"}, "must be one of"),
        ({"TUNEBASE_ADAPTER_CACHE_BYTES": "-1"}, "positive integer"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_environment({**ENVIRONMENT, **changes})


def test_models_come_from_the_volume_where_there_is_one(tmp_path: Path) -> None:
    assert engine_environment({}, tmp_path)["HF_HUB_CACHE"] == str(tmp_path / "huggingface-cache/hub")
    assert "HF_HUB_CACHE" not in engine_environment({}, tmp_path / "none")
    assert engine_environment({"HF_HUB_CACHE": "/x"}, tmp_path)["HF_HUB_CACHE"] == "/x"
