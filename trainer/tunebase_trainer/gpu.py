"""What the GPU is doing, from NVML. null values where there is no GPU."""

from __future__ import annotations

import pynvml


class GpuMeter:
    """Reads utilisation in percent and used memory in GiB of the first GPU."""

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
