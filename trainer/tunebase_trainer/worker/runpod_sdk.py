"""Imports RunPod's SDK without its CPU benchmark.

At import, the SDK asks py-cpuinfo for the CPU's name, for a debugging table that nothing here shows. To answer,
py-cpuinfo starts a process that measures the clock, which takes 1.2 s of each cold start. The SDK accepts an answer
without a name.
"""

from __future__ import annotations

import cpuinfo  # type: ignore[import-untyped]  # it has no types

cpuinfo.get_cpu_info = dict

import runpod  # noqa: E402  # after the line above
from runpod.http_client import AsyncClientSession  # noqa: E402
from runpod.serverless.modules.rp_http import send_result  # noqa: E402

__all__ = ["AsyncClientSession", "runpod", "send_result"]
