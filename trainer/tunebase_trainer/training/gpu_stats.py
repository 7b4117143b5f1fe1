"""GPU utilization and memory from NVML; null values without a GPU."""

from __future__ import annotations

import pynvml


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
