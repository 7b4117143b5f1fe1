"""GPU utilization and memory from NVML; null values without a GPU.

    python -m tunebase_trainer.training.gpu_stats

is the image's health check: it fails with a reason if training could not use a GPU.
"""

from __future__ import annotations

import sys

import pynvml

# The CUDA version of the torch in requirements.txt; older drivers of the same major version work.
CUDA_MAJOR = 13


class GpuMeter:
    """Reads the first GPU's utilization in percent and used memory in GiB."""

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
        driver = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError as error:
        sys.exit(f"There is no GPU to train on: {error}.")
    version = f"{driver // 1000}.{driver % 1000 // 10}"
    if driver < CUDA_MAJOR * 1000:
        sys.exit(f"The driver of {name} supports CUDA {version}; this image needs CUDA {CUDA_MAJOR}.")
    print(f"{name}, CUDA {version}")


if __name__ == "__main__":
    main()
