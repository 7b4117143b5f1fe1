"""Replaces the start of train_lora.py in a new interpreter, whose imports alone take eight seconds of a core: a fork
of a process that has done them. All else is as it was: the arguments, the environment, the files, the signals.
pytest-xdist's processes start so too.

    python fork_server.py SOCKET          # the process that forks; ends when its standard input does
    python -I -S fork_client.py SOCKET …  # instead of `python train_lora.py …` or `python -c …`
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
READ_AT_IMPORT = ("HF_", "OMP_", "TORCH", "TRANSFORMERS_", "CUDA_", "PYTORCH_")
"""Who begins with other values of these gets an interpreter of its own."""
LIBRARIES = (
    "bitsandbytes.nn.parametrize",
    "numpy.ctypeslib",
    "peft.tuners.lora.bnb",
    "peft.utils.transformers_weight_conversion",
    "torch.distributed.run",
    "transformers.integrations.bitsandbytes",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen3_moe.modeling_qwen3_moe",
    "transformers.trainer",
)
MODULES = (
    "tunebase_trainer.data.split",
    "tunebase_trainer.export.artifact",
    "tunebase_trainer.export.merged",
    "tunebase_trainer.kernels.cpu_attention",
    "tunebase_trainer.kernels.cpu_dropout",
    "tunebase_trainer.kernels.fused_lora",
    "tunebase_trainer.model.loading",
    "tunebase_trainer.model.lora",
    "tunebase_trainer.training.loop",
    "tunebase_trainer.training.metrics_log",
    "tunebase_trainer.training.preflight",
    "tunebase_trainer.versions",
)
"""What a training imports, early or late: late imports cost each fork a second of a core."""
OF_TESTS = ("gguf", "jsonschema", "trl.trainer.dpo_trainer", "tunebase_trainer.worker.runpod_sdk", "tusclient")
"""What the tests and the worker import, which are forks too."""
BETWEEN_RANKS = ("TORCHELASTIC_", "TORCH_NCCL_")
"""What torchrun tells each of its processes; read when they meet."""
READ_FOR_A_GPU = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF")
"""Make no difference on a CPU."""


def read_at_import(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and not name.startswith((*BETWEEN_RANKS, *READ_FOR_A_GPU))
    }


def run(asked: dict[str, object], fds: list[int], line: socket.socket) -> None:
    """In the fork: becomes the script. Does not return."""
    environment, directory = asked["environment"], asked["directory"]
    script, arguments = asked["script"], asked["arguments"]
    assert isinstance(environment, dict) and isinstance(directory, str)
    assert isinstance(script, str) and isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    given, out, err, events = fds
    os.dup2(given, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    received = {given, out, err, events}
    if "TUNEBASE_EVENTS_FD" in environment and "TUNEBASE_EVENTS_PATH" not in environment:
        target = int(environment["TUNEBASE_EVENTS_FD"])
        os.dup2(events, target)
        received.discard(target)  # the client's number may be one of those received
    os.chdir(directory)
    for fd in received:
        os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def end_with_the_client() -> None:
        if line.recv(1) == b"":
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_the_client, daemon=True).start()
    status = 0
    sys.argv = [script, *arguments]
    try:
        if "TUNEBASE_TEST_HOOK" in environment:
            runpy.run_path(environment["TUNEBASE_TEST_HOOK"])
        if script == "-c":
            exec(arguments[0], {"__name__": "__main__"})
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()  # who comes now waits
    return listener


def serve(path: str) -> None:
    """At `path` with all imports; at `path`-libraries without the trainer's, for scripts that must do without it."""
    with_trainer, libraries = listen(path), listen(f"{path}-libraries")
    own = read_at_import(dict(os.environ))  # before the imports, which set some
    for name in LIBRARIES:
        importlib.import_module(name)
    # Its cache takes half a second to fill.
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("llama")
    if (pid := os.fork()) == 0:
        libraries.close()
        sys.path.insert(0, str(HERE))
        logging.getLogger().addHandler(handled := logging.NullHandler())  # else RunPod's SDK adds one of its own
        for name in (*MODULES, *OF_TESTS):
            importlib.import_module(name)
        logging.getLogger().removeHandler(handled)
        answer(with_trainer, own)
    with_trainer.close()
    answer(libraries, own, pid)


def answer(listener: socket.socket, own: dict[str, str], other: int | None = None) -> None:
    """Forks for each that connects. Ends when standard input does, and after the process `other`."""
    gc.collect()
    gc.freeze()  # nor do the forks walk the modules' objects, or copy their pages
    lines: dict[int, socket.socket] = {}

    def ended(*_: object) -> None:
        while lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if (line := lines.pop(pid, None)) is None:
                continue
            with suppress(OSError):  # the client has been killed
                line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            line.close()

    def end_with_the_input() -> None:
        os.read(0, 1)  # sys.stdin's lock would be held in the forks
        if other is not None:
            with suppress(ChildProcessError):
                os.waitpid(other, 0)
        os._exit(0)

    signal.signal(signal.SIGCHLD, ended)
    threading.Thread(target=end_with_the_input, daemon=True).start()
    while True:
        line, _ = listener.accept()
        message, fds, _, _ = socket.recv_fds(line, 2**20, 4)
        asked = json.loads(message)
        if read_at_import(asked["environment"]) != own:
            line.sendall(b"differs\n")
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            if (pid := os.fork()) == 0:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
                listener.close()
                run(asked, fds, line)
            lines[pid] = line
            line.sendall(f"{pid}\n".encode())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    serve(sys.argv[1])
