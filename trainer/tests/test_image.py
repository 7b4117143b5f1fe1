"""What RunPod reads of this folder, and the image: each file says the same as the others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tunebase_trainer.worker.protocol import parse_input

HERE = Path(__file__).parent.parent
README = (HERE / "README.md").read_text()
DOCKERFILE = (HERE / "Dockerfile").read_text()
# Any driver of the major version that torch was built for runs it.
CUDA_MAJOR = (torch.version.cuda or "13").split(".")[0]


def read(path: str) -> Any:
    return json.loads((HERE / path).read_text())


def read_hub(name: str) -> Any:
    """Of the files that RunPod's Hub reads at the repository's root."""
    return json.loads((HERE.parent / ".runpod" / name).read_text())


def test_the_example_inputs_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = read_hub("tests.json")
    assert tests["tests"]
    for test in tests["tests"]:
        assert set(test) == {"name", "input", "timeout"}
        assert parse_input(test["input"]).callback_url is None, "they call the worker directly"
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    parse_input(read("test_input.json")["input"])


def test_the_hub_files_match_the_image() -> None:
    hub, tests = read_hub("hub.json"), read_hub("tests.json")
    assert (hub["type"], hub["config"]["runsOn"]) == ("serverless", "GPU")
    for config in (hub["config"], tests["config"]):
        assert all(version.startswith(f"{CUDA_MAJOR}.") for version in config["allowedCudaVersions"])
    for setting in hub["config"]["env"]:
        assert set(setting["input"]) >= {"name", "type", "description", "default"}
        assert f"| `{setting['key']}`" in README, "each setting is explained"


def test_the_image_has_every_file_that_the_worker_imports(tmp_path: Path) -> None:
    """`.dockerignore` lets in what it names: the worker starts from these files alone."""
    import shutil

    for line in (HERE / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source = HERE / line[1:]
            target = tmp_path / line[1:]
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    done = subprocess.run(
        [sys.executable, "-c", "import handler, train_lora"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_image_starts_on_hosts_with_any_cuda_13_driver_and_receives_sigterm() -> None:
    base = re.search(r"^FROM (\S+) AS environment", DOCKERFILE, re.MULTILINE)
    assert base is not None and re.fullmatch(r"ubuntu:24\.04@sha256:[0-9a-f]{64}", base[1])
    for setting in ("NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"):
        assert setting in DOCKERFILE
    # The SDK's own checks would load torch in the handler; handler.py runs the self-test instead.
    assert "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true" in DOCKERFILE and "RUNPOD_SKIP_GPU_CHECK=true" in DOCKERFILE
    assert "readiness.selftest()" in (HERE / "handler.py").read_text()
    assert "ARG BASE_MODEL\n" in DOCKERFILE and "--build-arg BASE_MODEL=" in README
    assert DOCKERFILE.rstrip().endswith('CMD ["python", "-u", "handler.py"]'), "as PID 1, not below a shell"
    for copied in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert (HERE / name).exists(), name


def test_flash_linear_attention_is_only_in_the_image() -> None:
    assert "-r requirements-cuda.txt" in DOCKERFILE
    assert "flash-linear-attention==" in (HERE / "requirements-cuda.txt").read_text()
    assert "flash-linear-attention" not in (HERE / "requirements.txt").read_text()


def test_each_setting_of_the_worker_is_documented() -> None:
    sources = [*HERE.glob("*.py"), *(HERE / "tunebase_trainer").rglob("*.py")]
    read_names = {
        name
        for path in sources
        for name in re.findall(r"environ(?:\.get\(|\[)\"(TUNEBASE_[A-Z_]+)\"", path.read_text())
    }
    # Between the processes of one training.
    inner = {"TUNEBASE_EVENTS_FD", "TUNEBASE_EVENTS_PATH"}
    assert len(read_names) > 4
    assert [name for name in sorted(read_names - inner) if f"`{name}`" not in README] == []
