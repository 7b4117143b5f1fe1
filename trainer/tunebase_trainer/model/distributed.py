"""One process per GPU, each with the whole base and its share of a step's rows (DDP).

The process that the worker starts becomes torchrun's agent, and its children, the ranks, train. Only rank 0 reports and
saves. Decisions that depend on a clock or a signal are collective: if one rank stopped alone, the others would wait for
its gradients.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import TrainerError


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process's GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_distributed() -> bool:
    return "RANK" in os.environ


def check_batch_size(batch_size: int, gpus: int) -> None:
    """Raises TrainerError `invalid_input` unless a batch can be divided evenly among the GPUs."""
    if batch_size % gpus:
        divisor = max(n for n in range(1, gpus + 1) if batch_size % n == 0)
        raise TrainerError(
            "invalid_input",
            f"batch_size = {batch_size}: it cannot be divided evenly among {gpus} GPUs.",
            f"Use batch_size = {-(-batch_size // gpus) * gpus}, or num_gpus = {divisor}.",
        )


class RestartNeeded(Exception):
    """A GPU ran out of memory. Its rank cannot continue alone, because the others wait for it in a collective
    operation."""

    def __init__(self, micro_batch_tokens: int) -> None:
        super().__init__(micro_batch_tokens)
        self.micro_batch_tokens = micro_batch_tokens
        """The maximum tokens per micro-batch after the restart."""


def request_restart(spec: str, restart: RestartNeeded) -> None:
    """Makes `launch` restart all ranks when this one has exited. Errors that other ranks report meanwhile are
    ignored."""
    claim_first_failure(spec)
    Path(f"{spec}.restart").write_text(str(restart.micro_batch_tokens))


def _next_spec(spec: str, elapsed: float, report: Callable[..., None]) -> bool:
    """Rewrites the spec for the restart that a rank has requested. Returns False if none has.

    The run continues from the newest complete checkpoint on disk, or from the one that it was started with.
    """
    try:
        micro_batch_tokens = int(Path(f"{spec}.restart").read_text())
    except (FileNotFoundError, ValueError):
        return False
    content = json.loads(Path(spec).read_text())
    if micro_batch_tokens >= content.get("micro_batch_tokens", math.inf):
        return False  # never retry the same size
    complete = {int(file.parent.name.split("-")[-1]): file.parent for file in _complete_checkpoints(content)}
    resume = str(complete[max(complete)]) if complete else content["resume"]
    seconds = content.get("seconds")
    content |= {
        "micro_batch_tokens": micro_batch_tokens,
        "resume": resume,
        "seconds": None if seconds is None else max(0.0, seconds - elapsed),
    }
    Path(spec).write_text(json.dumps(content))
    for suffix in ("restart", "failed"):
        Path(f"{spec}.{suffix}").unlink(missing_ok=True)
    origin = "the start" if resume is None else f"{Path(resume).name.replace('checkpoint-', 'step ')}"
    report(
        f"A GPU ran out of memory. All GPUs restart from {origin} with micro-batches of up to {micro_batch_tokens} "
        f"tokens; batch_size stays {content['hyperparameters']['batch_size']}.",
        "warn",
    )
    return True


def _complete_checkpoints(spec: dict[str, Any]) -> list[Path]:
    from ..training.checkpoint_state import STATE_FILE

    return list(Path(spec["checkpoints"]).glob(f"checkpoint-*/{STATE_FILE}"))


def launch(script: str, spec: str, processes: int, events_fd: int, report: Callable[..., None]) -> int:
    """Runs `script SPEC` in `processes` processes until they have exited. Returns the exit status for this one.

    Forwards SIGTERM and waits for the ranks, which torchrun itself would kill after 30 seconds. If a GPU runs out of
    memory, restarts all ranks with smaller micro-batches.
    """
    # torchrun would set it to 1, but a sharded base model is quantized on the CPU.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    # A file descriptor is not inherited through torchrun; its path works.
    os.environ["TUNEBASE_EVENTS_PATH"] = f"/proc/{os.getpid()}/fd/{events_fd}"
    signal.signal(signal.SIGTERM, _forward_sigterm)
    started = time.monotonic()
    while (code := _run_ranks(script, spec, processes)) != 0 and _next_spec(spec, time.monotonic() - started, report):
        started = time.monotonic()
    if code < 0:  # this process exits by the same signal
        with suppress(OSError):  # a handler for SIGKILL cannot be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _run_ranks(script: str, spec: str, processes: int) -> int:
    """The exit status of the first rank that failed, or 0."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        options = f"--standalone --local-addr 127.0.0.1 --nproc-per-node {processes} --max-restarts 0"
        torchrun.main([*options.split(), "--signals-to-handle=SIGINT", script, spec])
    except ChildFailedError as failed:
        return int(failed.get_first_failure()[1].exitcode)
    return 0


def _forward_sigterm(number: int, frame: FrameType | None) -> None:
    import psutil

    children = psutil.Process().children()
    if not children:  # no rank has started yet, so there is nothing to save
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(number)


def init() -> None:
    """Initializes this rank's process group: NCCL on its own GPU, or gloo on a CPU."""
    if not is_distributed():
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    # The ranks wait while each loads a large base in turn. If a rank dies, all of them end at once.
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo", timeout=datetime.timedelta(hours=2)
    )


def exclude_frozen_from_ddp(net: Any) -> None:
    """Keeps DDP from broadcasting rank 0's base weights, because each rank has its own shard."""
    frozen = [name for name, weight in net.named_parameters() if not weight.requires_grad]
    net._ddp_params_and_buffers_to_ignore = frozen


def shutdown() -> None:
    """Call after the last collective operation."""
    if is_distributed():
        import torch

        torch.distributed.destroy_process_group()


def sum_over_ranks(value: int) -> int:
    """The sum over all ranks. Collective: every rank must call it."""
    if not is_distributed():
        return value
    import torch

    return int(all_reduce(torch.tensor(value)))


def max_over_ranks(value: int) -> int:
    """The largest value of any rank. Collective."""
    if not is_distributed():
        return value
    import torch

    return int(all_reduce(torch.tensor(value), torch.distributed.ReduceOp.MAX))


def min_over_ranks(value: int) -> int:
    """The smallest value of any rank. Collective."""
    return -max_over_ranks(-value)


def all_reduce(values: Any, operation: Any = None) -> Any:
    """A tensor's sum over all ranks, or the result of another operation. Collective."""
    if not is_distributed():
        return values
    import torch

    device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    shared = values.to(device)
    torch.distributed.all_reduce(shared, operation or torch.distributed.ReduceOp.SUM)
    return shared.cpu()


def any_rank(condition: bool) -> bool:
    """Whether the condition holds on any rank. Collective."""
    return sum_over_ranks(int(condition)) > 0


def claim_first_failure(spec: str) -> bool:
    """Whether this rank is the first to fail. Later errors on other ranks are consequences."""
    if not is_distributed():
        return True
    try:
        Path(f"{spec}.failed").touch(exist_ok=False)
    except FileExistsError:
        print(f"rank {rank()} failed after another rank", file=sys.stderr)
        return False
    return True
