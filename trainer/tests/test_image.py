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

from tunebase_trainer.evaluation import evaluator
from tunebase_trainer.model.base_model import cache_root
from tunebase_trainer.worker import hub_push, preemption, process, wandb_mirror, workdir
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
        assert f"`{setting['key']}`" in README, "each setting is explained"


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


def test_each_action_is_pinned_by_commit_with_its_version_in_a_comment() -> None:
    workflows = sorted((HERE.parent / ".github/workflows").glob("*.yml"))
    used = [line for path in workflows for line in re.findall(r"uses: (.+)", path.read_text())]
    assert len(used) > 6
    for line in used:
        assert re.fullmatch(r"\./\.github/workflows/[\w-]+\.yml|[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_image_workflow_runs_the_check_script_for_what_it_builds() -> None:
    workflow = (HERE.parent / ".github/workflows/build-image.yml").read_text()
    for context, check in re.findall(r"context: (\w+)\n\s+check: (\S+)", workflow):
        assert (HERE.parent / context / "Dockerfile").exists() and (HERE.parent / check).exists()
    script = (HERE / "tests/check_image.sh").read_text()
    for command in ("-m tunebase_trainer.selftest", "python test_locally.py", "python -u handler.py"):
        assert command in script


ENVIRON = re.compile(r"environ(?:\.get\(|\[)[\"']([A-Z_]+)[\"']|[\"']([A-Z_]+)[\"'] (?:not )?in os\.environ")
NOT_IN_HUB = {
    "between the processes of one training": (
        "TUNEBASE_EVENTS_FD", "TUNEBASE_EVENTS_PATH", "RANK", "LOCAL_RANK", "WORLD_SIZE",
    ),
    "for development and tests": (
        "TUNEBASE_ALLOW_LOOPBACK", "TUNEBASE_CPU_DTYPE", "TUNEBASE_STACK", "TUNEBASE_TRAIN_COMMAND",
        "HF_HUB_OFFLINE", "WANDB_MODE",
    ),
    "set by RunPod": ("RUNPOD_POD_ID", "RUNPOD_WEBHOOK_POST_OUTPUT", "NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    "of the system": ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"),
    "for unusual networks": (
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE", "HF_ENDPOINT",
    ),
    "of libraries, with a default that the worker or the image sets": (
        "CUDA_DEVICE_ORDER", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS", "TRITON_CACHE_DIR",
        "HF_HOME",
    ),
}  # fmt: skip
"""Variables that the worker reads or passes on, and that an operator does not set in RunPod's form, by reason."""


def variables_read() -> set[str]:
    sources = [
        path for path in (HERE / "tunebase_trainer").rglob("*.py") if "bench" not in path.relative_to(HERE).parts
    ]
    found = {
        name
        for path in (HERE / "handler.py", HERE / "train_lora.py", *sources)
        for match in ENVIRON.findall(path.read_text())
        for name in match
        if name
    }
    return found | {
        *process.INHERITED_VARIABLES, *wandb_mirror.INHERITED_VARIABLES, *hub_push.INHERITED_VARIABLES
    }  # fmt: skip


def test_the_hub_offers_every_variable_that_an_operator_may_set() -> None:
    left_out = {name for names in NOT_IN_HUB.values() for name in names}
    offered = {setting["key"] for setting in read_hub("hub.json")["config"]["env"]}
    read_names = variables_read() | {"RUNPOD_LOG_LEVEL"}  # by RunPod's SDK
    assert left_out <= read_names and left_out.isdisjoint(offered), "the exceptions are variables that the code reads"
    assert offered == read_names - left_out


def test_the_hubs_empty_defaults_mean_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in read_hub("hub.json")["config"]["env"]:
        monkeypatch.setenv(setting["key"], str(setting["input"]["default"]))
    assert preemption.grace_seconds() == 25
    assert evaluator.sample_limit() == 20
    assert evaluator.time_budget(on_gpu=True, steps=[], seconds_left=1e6) == evaluator.MIN_SECONDS_GPU
    assert workdir.work_root() != Path() and cache_root() != Path()


def test_each_setting_of_the_worker_is_documented() -> None:
    inner = set(NOT_IN_HUB["between the processes of one training"]) | {"TUNEBASE_STACK"}
    names = {name for name in variables_read() if name.startswith("TUNEBASE_")} - inner
    assert len(names) > 4
    assert [name for name in sorted(names) if f"`{name}`" not in README] == []
