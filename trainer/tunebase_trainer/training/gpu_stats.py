"""What the GPU is doing, from NVML. null values where there is no GPU.

    python -m tunebase_trainer.training.gpu_stats

is the image's health check: it fails with a reason when training could not use a GPU.
"""

from __future__ import annotations

import sys

import pynvml

# The CUDA version of the torch in requirements.txt; within a major version, older drivers do.
CUDA_MAJOR = 13


class GpuMeter:
    """Reads utilization in percent and used memory in GiB of the first GPU."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        except pynvml.NVMLError:
            self.handle = None

    def read(self) -> dict[str, float | None]:
        if self.handle is None:
            return {"gpu_utilization": None, "gpu_memory_gb": None}
        try:
            return {
                "gpu_utilization": float(pynvml.nvmlDeviceGetUtilizationRates(self.handle).gpu),
                "gpu_memory_gb": pynvml.nvmlDeviceGetMemoryInfo(self.handle).used / 2**30,
            }
        except pynvml.NVMLError:
            return {"gpu_utilization": None, "gpu_memory_gb": None}


def main() -> None:
    try:
        pynvml.nvmlInit()
        found = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError as error:
        sys.exit(f"There is no GPU to train on: {error}.")
    version = f"{found // 1000}.{found % 1000 // 10}"
    if found < CUDA_MAJOR * 1000:
        sys.exit(f"The driver of {name} is for CUDA {version}; this image needs CUDA {CUDA_MAJOR}.")
    print(f"{name}, CUDA {version}")


if __name__ == "__main__":
    main()
