"""See fork_server.py. Ends as the training does: with its status, or by its signal."""

import json
import os
import signal
import socket
import sys

path, interpreter, script, *arguments = [argument for argument in sys.argv[1:] if argument != "-u"]
line = socket.socket(socket.AF_UNIX)
line.connect(path)
# One of several that share a training opens its events' path.
events = 1 if "TUNEBASE_EVENTS_PATH" in os.environ else int(os.environ.get("TUNEBASE_EVENTS_FD", "1"))
directory = os.getcwd()  # noqa: PTH109  # pathlib's import takes longer than the rest
asked = {"environment": dict(os.environ), "directory": directory, "script": script, "arguments": arguments}
socket.send_fds(line, [json.dumps(asked).encode()], [0, 1, 2, events])
told = line.makefile()
first = told.readline().strip()
if first == "differs":
    os.execv(interpreter, [interpreter, "-u", script, *arguments])
pid = int(first)
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
status = int(told.readline() or -signal.SIGKILL)
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
sys.exit(status)
