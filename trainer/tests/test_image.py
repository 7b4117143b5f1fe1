"""What RunPod reads of this folder, and the image: each file says the same as the others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunebase_trainer.training.gpu_stats import CUDA_MAJOR
from tunebase_trainer.worker.protocol import parse_input

HERE = Path(__file__).parent.parent
README = (HERE / "README.md").read_text()
DOCKERFILE = (HERE / "Dockerfile").read_text()


def read(path: str) -> Any:
    return json.loads((HERE / path).read_text())


def test_the_example_inputs_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = read(".runpod/tests.json")
    assert tests["tests"]
    for test in tests["tests"]:
        assert set(test) == {"name", "input", "timeout"}
        assert parse_input(test["input"]).callback_url is None, "they call the worker directly"
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    parse_input(read("test_input.json")["input"])


def test_the_hub_files_match_the_image() -> None:
    hub, tests = read(".runpod/hub.json"), read(".runpod/tests.json")
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


def test_the_image_checks_its_gpu_has_a_variant_with_a_model_and_receives_sigterm() -> None:
    assert re.search(r"^FROM nvidia/cuda:(\d+)", DOCKERFILE, re.MULTILINE)[1] == str(CUDA_MAJOR)  # type: ignore[index]
    assert "HEALTHCHECK" in DOCKERFILE and '"tunebase_trainer.training.gpu_stats"' in DOCKERFILE
    assert "ARG BASE_MODEL\n" in DOCKERFILE and "--build-arg BASE_MODEL=" in README
    assert DOCKERFILE.rstrip().endswith('CMD ["python", "-u", "handler.py"]'), "as PID 1, not below a shell"
    for copied in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert (HERE / name).exists(), name


def test_without_a_gpu_the_health_check_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tunebase_trainer.training.gpu_stats"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert "There is no GPU to train on" in done.stderr or "this image needs CUDA" in done.stderr


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
