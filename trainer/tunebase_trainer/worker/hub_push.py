"""Pushes the adapter to the Hugging Face Hub, from a separate process, before the attempt finishes.

Only that process uses the token (`HF_PUSH_TOKEN`), which is the operator's. The push never fails the job: a problem (no
token, no permission, an unresponsive Hub) is one warning in the job's log. All files go into one commit, and nothing is
committed if the repository already has them, so an attempt that repeats a push changes nothing.

A cancelled job commits nothing: files are first uploaded without becoming visible, and committed only after a report
whose reply does not cancel the job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TrainerError
from ..text import counted
from .log_redaction import redact
from .process import INHERITED_VARIABLES as PASSED_TO_TRAINING
from .process import TRAINER_DIR
from .protocol import HuggingFace, RunInput

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from .callback_client import CallbackClient

log = logging.getLogger("tunebase")

TOKEN_VARIABLE = "HF_PUSH_TOKEN"  # noqa: S105 (its name)
INHERITED_VARIABLES = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY",
    "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "HF_ENDPOINT", TOKEN_VARIABLE,
)  # fmt: skip
assert TOKEN_VARIABLE not in PASSED_TO_TRAINING, "the training must not have the token"
TIMEOUT_SECONDS = 600.0
PRIVATE_FILES = {"samples.json"}
"""Files with rows of the dataset: they are not pushed to public repositories."""
FINISH_SECONDS = 60.0
"""What remains of the run's time limit after a push, to report the success."""
REPORT_SECONDS = 60.0
"""How long to wait for Tunebase to confirm that the job is not cancelled."""
MAX_TRIES = 4
RETRY_SECONDS = 2.0


class HubPush:
    """The push of one attempt. `preempted` ends it, so that the success can still be reported."""

    def __init__(self, callbacks: CallbackClient, preempted: asyncio.Event) -> None:
        self._callbacks, self._preempted = callbacks, preempted
        self.problem: str | None = None
        """Why nothing was pushed, if the job asked for it."""

    async def push(
        self, run: RunInput, directory: Path, paths: list[str], seconds_left: float | None = None
    ) -> str | None:
        """Pushes `directory/adapter`'s files `paths` and `directory/manifest.json`, if the job asks for it.

        Returns the repository's URL, or None. `seconds_left`: until RunPod ends the run.
        """
        target = run.hyperparameters.huggingface
        if target is None:
            return None
        limit = TIMEOUT_SECONDS if seconds_left is None else min(TIMEOUT_SECONDS, seconds_left - FINISH_SECONDS)
        if not target.private:
            paths = [path for path in paths if path not in PRIVATE_FILES]
        try:
            url = await self._push(run, target, directory, paths, limit)
        except Exception as error:
            if not isinstance(error, PushFailed):
                log.exception("the push failed unexpectedly")
            reason = error if isinstance(error, PushFailed) else f"an unexpected {type(error).__name__}"
            self.problem = f"The adapter was not pushed to the Hugging Face Hub: {reason}."
            if run.callback_url is None:  # Tunebase does not have the job
                self._log("warn", self.problem)
                return None
            command = f"tunebase adapter push {public_id(run)} {target.repo}{'' if target.private else ' --public'}"
            self._log("warn", f"{self.problem} The job is not affected. To push it yourself: {command}")
            return None
        self._log("info", f"Pushed the adapter to the Hugging Face Hub: {url}")
        return url

    def _log(self, level: str, message: str) -> None:
        log.log(logging.WARNING if level == "warn" else logging.INFO, "%s", message)
        self._callbacks.add_log(level, message)

    async def _push(self, run: RunInput, target: HuggingFace, directory: Path, paths: list[str], limit: float) -> str:
        if not os.environ.get(TOKEN_VARIABLE):
            raise PushFailed(f"this worker has no {TOKEN_VARIABLE}; the operator must set it")
        if limit <= 0:
            raise PushFailed("the run is near its time limit")
        if self._preempted.is_set():
            raise PushFailed("the platform is stopping the worker")
        request = {
            **target.model_dump(),
            "message": f"Upload the adapter of {public_id(run)}",
            "files": {path: str(directory / "adapter" / path) for path in paths}
            | {"manifest.json": str(directory / "manifest.json")},
        }
        home = directory / "hub"
        home.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__,
            cwd=TRAINER_DIR,
            # Without Xet: it saves what files have in common, which new weights do not.
            env={name: os.environ[name] for name in INHERITED_VARIABLES if os.environ.get(name)}
            | {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        conversation = asyncio.create_task(self._converse(process, request))
        preemption = asyncio.create_task(self._preempted.wait())
        try:
            await asyncio.wait([conversation, preemption], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if conversation.done():
                return conversation.result()
            if preemption.done():
                raise PushFailed("the platform is stopping the worker")
            raise PushFailed(f"it timed out after {counted(round(limit), 'second')}")
        finally:
            conversation.cancel()
            preemption.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            if process.stdin is not None:
                process.stdin.close()
            await asyncio.shield(process.wait())
            await asyncio.gather(conversation, preemption, return_exceptions=True)

    async def _converse(self, process: asyncio.subprocess.Process, request: dict[str, Any]) -> str:
        """Returns the repository's URL. Raises PushFailed."""
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        while line := await process.stdout.readline():
            try:
                reply = json.loads(line)
            except ValueError:
                continue  # the library's own output
            match reply:
                case {"uploaded": True}:
                    await self._check_wanted()
                    process.stdin.write(b"commit\n")
                case {"url": str(url)}:
                    return url
                case {"problem": str(problem)}:
                    raise PushFailed(problem)
        raise PushFailed("its process exited early")

    async def _check_wanted(self) -> None:
        """Returns if the job has not been cancelled. Raises PushFailed if Tunebase cannot be reached."""
        try:
            await asyncio.wait_for(self._callbacks.report(), REPORT_SECONDS)
        except (TrainerError, TimeoutError):
            raise PushFailed("Tunebase does not respond") from None
        if self._callbacks.is_ending:
            await asyncio.get_running_loop().create_future()  # the attempt is ending and cancels this task


def public_id(run: RunInput) -> str:
    """The job's ID in the API."""
    return f"ftjob-{run.job_id.replace('-', '')}"


class PushFailed(Exception):
    """The message is a clause that completes a sentence."""


def main() -> None:
    """Reads what `_push` writes: the request, and `commit`. Answers with {"uploaded"}, then {"url"}; or {"problem"}."""
    request = json.loads(sys.stdin.readline())
    try:
        answer = {"url": push(request, os.environ[TOKEN_VARIABLE], _may_commit)}
    except PushFailed as failed:
        answer = {"problem": str(failed)}
    print(json.dumps(answer), flush=True)


def _may_commit() -> bool:
    print(json.dumps({"uploaded": True}), flush=True)
    return sys.stdin.readline() == "commit\n"


def push(request: dict[str, Any], token: str, may_commit: Callable[[], bool], endpoint: str | None = None) -> str:
    """Pushes the files in one commit and returns the repository's URL. Raises PushFailed.

    `request` has `repo`, `private`, `message` and `files` (paths on this disk by their paths in the repository).
    `may_commit` is asked when everything is uploaded. `endpoint` replaces HF_ENDPOINT.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint, token=token)
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return _push_once(api, request, may_commit)
        except PushFailed:
            raise
        except Exception as error:
            if attempt == MAX_TRIES or not _is_transient(error):
                raise PushFailed(_explain(error, request["repo"])) from None
            time.sleep(RETRY_SECONDS * attempt)
    raise AssertionError


def _push_once(api: HfApi, request: dict[str, Any], may_commit: Callable[[], bool]) -> str:
    from huggingface_hub import CommitOperationAdd

    repo = request["repo"]
    api.create_repo(repo, private=request["private"], exist_ok=True)
    if request["private"] and api.model_info(repo).private is False:
        raise PushFailed(f"{repo} is a public repository, and the job asks for a private one")
    files = [CommitOperationAdd(path, local) for path, local in sorted(request["files"].items())]
    api.preupload_lfs_files(repo, files, free_memory=False)
    if not may_commit():
        raise PushFailed("the job was cancelled")
    # No commit if the repository has these files already.
    api.create_commit(repo, files, commit_message=request["message"])
    return f"{api.endpoint}/{repo}"


def _status(error: BaseException) -> int | None:
    """The Hub's HTTP status."""
    from huggingface_hub.errors import HfHubHTTPError

    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status: int = cause.response.status_code
            return status
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes: an upload's error is wrapped."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_transient(error: Exception) -> bool:
    from httpx2 import TransportError

    status = _status(error)
    if status is None:
        return any(isinstance(cause, TransportError) for cause in _causes(error))
    return status >= 500 or status == 429


def _explain(error: Exception, repo: str) -> str:
    """A clause. The library's messages can have URLs that are permissions: they are redacted."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    status = _status(error)
    if status == 401:
        return f"the Hub rejects the worker's {TOKEN_VARIABLE} (401)"
    if status is not None:
        messages = (cause.server_message for cause in _causes(error) if isinstance(cause, HfHubHTTPError))
        said = _one_line(next(filter(None, messages), "") or (str(error) if isinstance(error, ValueError) else ""))
        detail = f": {said}" if said else ""
        if status in (403, 404):
            return f"the worker's {TOKEN_VARIABLE} cannot write to {repo} ({status}{detail})"
        return f"the Hub responded with {status}{detail}"
    for cause in _causes(error):
        if isinstance(cause, TransportError):
            return f"the Hub does not respond ({type(cause).__name__})"
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    return redact(next(iter(text.strip().splitlines()), ""))[:300].rstrip(". ")


if __name__ == "__main__":
    main()
