"""Checks whether this machine can train, and says how to fix problems.

    python -m tunebase_trainer.selftest [--quick] [--json] [--gpus N]

The worker runs the quick part in a separate process before it accepts a job (worker/readiness.py). The exit status is 1
if a check failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import psutil
import pynvml

from .model.base_model import cache_root
from .worker.workdir import VOLUME, work_root

Status = Literal["ok", "warning", "failed", "skipped"]
GIB = 2**30
# Warn below this much free space, in GB: a 7B model takes 15 GB, and the adapter's files a few.
MIN_FREE_DISK_GB = 20
# Below this share of free memory, another process must be using the GPU.
MIN_FREE_GPU_SHARE = 0.9
UPDATE_DRIVER = "Require newer drivers. On RunPod: set the endpoint's allowed CUDA versions to {version} and newer."


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    found: str
    advice: str = ""


def check_driver() -> Check:
    """Checks the NVIDIA driver and its GPUs with NVML. Skipped without a driver: such a machine trains on its CPU."""
    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        names = [
            pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())
        ]
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return Check("driver", "skipped", "no NVIDIA driver; this machine trains on its CPU")
    except pynvml.NVMLError as error:
        return Check("driver", "failed", f"the driver does not respond: {error}", "Use another host.")
    found = f"{version}, for CUDA up to {cuda // 1000}.{cuda % 1000 // 10}; {', '.join(names) or 'no GPU'}"
    if not names:
        return Check("driver", "failed", found, "Use another host.")
    import torch

    needed = torch.version.cuda
    # Drivers of the same major version run programs built for a newer minor one.
    if needed is not None and cuda // 1000 < (major := int(needed.split(".")[0])):
        return Check(
            "driver", "failed", f"{found}; torch needs CUDA {needed}", UPDATE_DRIVER.format(version=f"{major}.0")
        )
    return Check("driver", "ok", found)


def check_cuda(gpus: int) -> Check:
    """Checks that torch sees at least `gpus` GPUs, and that each computes a product correctly."""
    import torch

    if not torch.cuda.is_available():
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]  # torch has no type for it
            reason = "torch sees no GPU"
        except Exception as error:  # whatever it is, its message is the reason
            reason = str(error).splitlines()[0]
        return Check("cuda", "failed", reason, "Use another host, or check that the container may use its GPUs.")
    count = torch.cuda.device_count()
    if count < gpus:
        return Check("cuda", "failed", f"{count} of {gpus} GPUs", f"Give each worker {gpus} GPUs.")
    for device in range(count):
        try:
            problem = _wrong_product(device)
        except RuntimeError as error:
            problem = str(error).splitlines()[0]
        if problem is not None:
            return Check("cuda", "failed", f"GPU {device}: {problem}", "Use another host.")
    return Check("cuda", "ok", f"torch {torch.__version__} with CUDA {torch.version.cuda}; GPUs: {count}")


def _wrong_product(device: int) -> str | None:
    import torch

    a, b = torch.arange(64.0).view(8, 8), torch.arange(64.0).flip(0).view(8, 8)
    found = (a.to(device) @ b.to(device)).cpu()
    return None if torch.equal(found, a @ b) else "a product of two matrices is wrong"


def check_bf16() -> Check:
    """Checks that the GPU has bf16: fp16 overflows in newer models, and emulated bf16 is very slow."""
    import torch

    if not torch.cuda.is_available():
        from .model.precision import compute_dtype

        return Check("bf16", "skipped", f"the CPU computes in {str(compute_dtype()).removeprefix('torch.')}")
    slow = []
    for device in range(torch.cuda.device_count()):
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                slow.append(torch.cuda.get_device_name(device))
    if slow:
        advice = "Choose GPUs of compute capability 8.0 or above: A100, A40, L4, RTX 30 series or newer."
        return Check("bf16", "failed", f"not supported by {', '.join(slow)}", advice)
    return Check("bf16", "ok", "supported")


def check_memory() -> Check:
    """Checks free GPU memory or, without a GPU, main memory."""
    import torch

    if not torch.cuda.is_available():
        memory = psutil.virtual_memory()
        found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB of main memory are free"
        return Check("memory", "ok", found)
    sizes = [torch.cuda.mem_get_info(device) for device in range(torch.cuda.device_count())]
    found = ", ".join(f"{free / GIB:.1f} of {total / GIB:.1f} GiB" for free, total in sizes) + " are free"
    if any(free < MIN_FREE_GPU_SHARE * total for free, total in sizes):
        return Check("memory", "warning", found, "Another process is using the GPU. Run `nvidia-smi` to find it.")
    return Check("memory", "ok", found)


def check_disk() -> Check:
    """Checks free disk space for models and attempts."""
    free = {}
    for what, directory in (("models", cache_root()), ("work", work_root())):
        existing = directory
        while not existing.is_dir():
            existing = existing.parent
        free[what] = shutil.disk_usage(existing).free / 1e9
    volume = "on the network volume" if VOLUME.is_dir() else "no network volume: each worker downloads its models"
    found = f"{free['models']:.0f} GB free for models, {free['work']:.0f} GB for work; {volume}"
    if min(free.values()) < MIN_FREE_DISK_GB:
        return Check("disk", "warning", found, "Give the container disk or the network volume more space.")
    return Check("disk", "ok", found)


def check_kernels() -> Check:
    """Reports which kernels training uses here, and checks that NF4 survives a round trip on this device."""
    import torch
    from bitsandbytes import functional

    from . import kernels

    on_gpu = torch.cuda.is_available()
    weights = torch.linspace(-1, 1, 4096, device="cuda" if on_gpu else "cpu", dtype=torch.bfloat16).view(64, 64)
    packed, state = functional.quantize_4bit(weights, blocksize=64, quant_type="nf4")
    error = float((functional.dequantize_4bit(packed, state) - weights).abs().max())
    version = importlib.metadata.version("bitsandbytes")
    found = f"{kernels.describe()}; bitsandbytes {version} with a largest NF4 error of {error:.2f}"
    # The widest gap between two NF4 values is 0.31 of a block's largest value.
    if error > 0.16:
        return Check("kernels", "failed", found, "bitsandbytes computes wrongly here: reinstall requirements.txt.")
    return Check("kernels", "ok", found)


def check_hub() -> Check:
    """Checks that the Hugging Face hub responds, and that HF_TOKEN, if set, is valid."""
    from huggingface_hub import HfApi, constants, get_session, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return Check("hub", "skipped", "HF_HUB_OFFLINE is set: only cached models can be used")
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception as error:  # connection errors depend on the HTTP library of the hub's client
        advice = "Only models in the cache or on the worker can be used. Check HF_ENDPOINT and the network."
        return Check("hub", "warning", f"{constants.ENDPOINT} is not reachable ({type(error).__name__})", advice)
    if get_token() is None:
        return Check("hub", "ok", f"{constants.ENDPOINT}, without HF_TOKEN: public models only")
    try:
        return Check("hub", "ok", f"{constants.ENDPOINT}, as {HfApi().whoami()['name']}")
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            return Check("hub", "failed", "HF_TOKEN is not valid", "Create a token at huggingface.co/settings/tokens.")
        return Check("hub", "warning", f"{constants.ENDPOINT}: {type(error).__name__}", "Try again later.")


def run_checks(quick: bool, gpus: int) -> Iterator[Check]:
    """Runs the checks in order. After a failed driver or CUDA check, skips those that need the GPU."""
    driver = check_driver()
    yield driver
    if driver.status == "ok":
        cuda = check_cuda(gpus)
        yield cuda
        if cuda.status == "ok":
            yield check_bf16()
            yield check_memory()
    elif driver.status == "skipped" and not quick:
        yield check_bf16()
        yield check_memory()
    yield check_disk()
    if not quick:
        if driver.status != "failed":
            yield _run("kernels", check_kernels)
        yield _run("hub", check_hub)


def _run(name: str, check: Callable[[], Check]) -> Check:
    """Turns an exception into a failed check, so that the other checks still run."""
    try:
        return check()
    except Exception as error:
        return Check(name, "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def table(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8} {check.name:<{width}}  {check.found}")
        if check.advice:
            lines.append(f"{'':<8} {'':<{width}}  {check.advice}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tunebase_trainer.selftest", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="run only the checks that decide whether this worker accepts jobs"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array instead of a table")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="required number of GPUs (default: 1)")
    options = parser.parse_args(arguments)
    checks = list(run_checks(options.quick, options.gpus))
    print(json.dumps([dataclasses.asdict(check) for check in checks]) if options.json else table(checks))
    return 1 if any(check.status == "failed" for check in checks) else 0


if __name__ == "__main__":
    # Number GPUs by bus ID, as NVML does. By default, CUDA puts the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    sys.exit(main())
