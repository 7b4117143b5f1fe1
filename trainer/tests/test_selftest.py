"""The self-test with faked drivers and GPUs: what it says where training could not work."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from tunebase_trainer import selftest


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An NVIDIA driver for CUDA 13.0 with one H100; the test changes what it returns."""
    found = SimpleNamespace(cuda=13000, gpus=["NVIDIA H100"])
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.95")
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: found.cuda)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(found.gpus))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda i: i)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda i: found.gpus[i])
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    return found


def failed(checks: list[selftest.Check]) -> dict[str, str]:
    return {check.name: f"{check.found} {check.advice}" for check in checks if check.status == "failed"}


def test_a_driver_of_the_same_major_version_is_enough(driver: Any) -> None:
    check = selftest.check_driver()
    assert (check.status, check.found) == ("ok", "580.95, for CUDA up to 13.0; NVIDIA H100")


def test_an_older_driver_fails_with_what_to_require(driver: Any) -> None:
    driver.cuda = 12080
    check = selftest.check_driver()
    assert check.status == "failed" and "torch needs CUDA 13.2" in check.found
    assert "allowed CUDA versions to 13.0 and newer" in check.advice


def test_a_driver_without_gpus_and_one_that_does_not_answer_fail(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.gpus = []
    assert selftest.check_driver().status == "failed"

    def broken() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", broken)
    assert "does not respond" in selftest.check_driver().found


def test_a_gpu_that_cuda_cannot_use_fails_and_nothing_after_it_is_tried(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        raise RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    checks = list(selftest.run_checks(quick=True, gpus=1))
    assert [check.name for check in checks] == ["driver", "cuda", "disk"]
    assert failed(checks)["cuda"].startswith("CUDA unknown error")


def test_too_few_gpus_and_one_that_computes_wrongly_fail(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "2 of 4 GPUs" in selftest.check_cuda(4).found
    monkeypatch.setattr(selftest, "_wrong_product", lambda device: "wrong" if device == 1 else None)
    assert selftest.check_cuda(2).found == "GPU 1: wrong"


def test_a_gpu_without_bf16_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device", lambda device: pytest.MonkeyPatch.context())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    check = selftest.check_bf16()
    assert check.status == "failed" and "Tesla T4" in check.found and "compute capability 8.0" in check.advice


def test_without_a_gpu_it_checks_the_cpu_and_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(selftest, "check_hub", lambda: selftest.Check("hub", "skipped", "not in this test"))
    assert selftest.main(["--json"]) == 0
    checks = {check["name"]: check["status"] for check in json.loads(capsys.readouterr().out)}
    assert checks == {
        "driver": "skipped", "bf16": "skipped", "memory": "ok", "disk": checks["disk"], "kernels": "ok",
        "hub": "skipped",
    }  # fmt: skip
    assert selftest.main(["--quick"]) == 0
    assert capsys.readouterr().out.startswith("skipped  driver  no NVIDIA driver")


def test_a_check_that_raises_has_failed_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> selftest.Check:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(selftest, "check_kernels", broken)
    monkeypatch.setattr(selftest, "check_hub", lambda: selftest.Check("hub", "ok", "here"))
    assert selftest.main([]) == 1
    out = capsys.readouterr().out
    assert "failed   kernels  OSError: libcuda.so.1: cannot open shared object file" in out and "here" in out
