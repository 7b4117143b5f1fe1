"""Downloads an attempt's inputs: the dataset, a checkpoint to resume from, an adapter to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ..errors import TrainerError
from .adapter_upload import ADAPTER_FILES
from .checkpoint_upload import download_checkpoint
from .protocol import ClaimReply, StartFrom, check_url
from .transfers import DIRECT_HINT, OPERATOR_HINT, download


@dataclass(frozen=True)
class Inputs:
    """Paths on this worker's disk."""

    dataset: Path
    dataset_sha256: str
    validation: Path | None
    resume: Path | None
    start_from: Path | None


async def fetch_inputs(
    session: aiohttp.ClientSession,
    claim: ClaimReply,
    directory: Path,
    direct: bool,
    on_log: Callable[[str, str], None],
) -> Inputs:
    """Downloads everything that the claim names into `directory`.

    `direct`: the caller supplied the URLs and can correct them. If a checkpoint cannot be downloaded, logs a warning,
    and training starts over. For anything else, raises TrainerError.
    """
    hint = DIRECT_HINT if direct else OPERATOR_HINT
    dataset = directory / "train.jsonl"
    sha256 = await download(session, claim.dataset_url, dataset, claim.dataset_sha256, hint=hint)
    validation: Path | None = None
    if claim.validation_url is not None:
        validation = directory / "validation.jsonl"
        validation_sha256 = claim.validation_sha256 or ""
        await download(
            session, claim.validation_url, validation, validation_sha256, what="The validation data", hint=hint
        )
    resume: Path | None = None
    if claim.resume is not None:
        try:
            resume = await download_checkpoint(session, claim.resume, directory / "resume")
        except TrainerError as problem:
            on_log("warn", f"{problem.message} Training starts over.")
    start_from: Path | None = None
    if claim.start_from is not None:
        start_from = await _download_adapter(session, claim.start_from, directory / "start_from")
    return Inputs(dataset, sha256, validation, resume, start_from)


async def _download_adapter(session: aiohttp.ClientSession, start_from: StartFrom, target: Path) -> Path:
    """Downloads the adapter to start from. A failure ends the attempt, because the run would not be the requested
    one."""
    for file in start_from.files:
        if file.path not in ADAPTER_FILES:
            continue  # the model card, merged weights and similar files are not needed
        check_url("start_from.files.url", file.url)
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        await download(session, file.url, path, file.sha256, what=f"The earlier adapter's file {file.path}")
    return target
