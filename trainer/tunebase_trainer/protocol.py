"""The messages between this worker and Tunebase, as `protocol.schema.json` (generated from the server's own) has them."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from .errors import TrainerError

Stage = Literal[
    "setup", "downloading", "preparing", "loading_model", "configuring", "training", "saving", "uploading", "completed"
]
Order = Literal["continue", "cancel", "pause", "stop"]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _aliased(name: str, *older: str) -> Any:
    return AliasChoices(name, *older)


class Hyperparameters(Message):
    """Names in brackets of older callers: epochs, rank, alpha, dropout."""

    base_model: Annotated[str, Field(min_length=1, max_length=300)]
    base_revision: str | None = None
    learning_rate: Annotated[FiniteFloat, Field(ge=1e-5, le=1e-3)]
    batch_size: Annotated[int, Field(ge=1, le=64)]
    num_epochs: Annotated[int, Field(ge=1, le=20, validation_alias=_aliased("num_epochs", "epochs"))]
    lora_rank: Annotated[int, Field(ge=4, le=128, validation_alias=_aliased("lora_rank", "rank"))]
    lora_alpha: Annotated[int, Field(ge=8, le=256, validation_alias=_aliased("lora_alpha", "alpha"))]
    lora_dropout: Annotated[FiniteFloat, Field(ge=0, le=0.1, validation_alias=_aliased("lora_dropout", "dropout"))] = (
        0.05
    )
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    weight_decay: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    max_length: Annotated[int, Field(ge=64, le=131072)] = 2048
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42


class GpuConfig(Message):
    gpu_type: Annotated[str, Field(validation_alias=_aliased("gpu_type", "type"))]
    num_gpus: Annotated[int, Field(ge=1, le=8, validation_alias=_aliased("num_gpus", "count"))] = 1
    gpu_memory_gb: Annotated[FiniteFloat, Field(ge=0)] = 0
    cost_per_gpu_hour: Annotated[FiniteFloat, Field(ge=0)] = 0


class RunInput(Message):
    job_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    attempt: Annotated[int, Field(ge=1)] = 1
    dataset_url: str
    validation_url: str | None = None
    hyperparameters: Hyperparameters
    gpu_config: GpuConfig
    callback_url: str | None = None
    callback_secret: Annotated[str, Field(pattern=r"^whsec_")] | None = Field(default=None, repr=False)


class ClaimReply(Message):
    claimed: bool
    fence: int = 0
    lease_seconds: int = 60
    report_seconds: int = 15
    dataset_url: str = ""
    dataset_sha256: str = ""
    validation_url: str | None = None
    validation_sha256: str | None = None
    reason: str = ""
    detail: str = ""


class Metric(Message):
    step: int
    epoch: FiniteFloat
    training_loss: FiniteFloat | None
    validation_loss: FiniteFloat | None
    learning_rate: FiniteFloat | None
    gradient_norm: FiniteFloat | None
    tokens_per_second: FiniteFloat | None
    gpu_utilization: FiniteFloat | None
    gpu_memory_gb: FiniteFloat | None


class LogEvent(Message):
    level: Literal["info", "warn", "error"]
    message: str


class ArtifactFile(Message):
    path: str
    bytes: int
    sha256: str


class UploadTarget(Message):
    path: str
    endpoint: str
    bucket: str
    object: str
    token: Annotated[str, Field(repr=False)]
    content_type: str
    chunk_bytes: int


class UploadsReply(Message):
    order: Order
    targets: list[UploadTarget]


class VerifyReply(Message):
    order: Order
    verified: bool
    detail: str | None


class FinishReply(Message):
    accepted: bool
    detail: str | None


class Manifest(Message):
    format: Literal["peft-lora"] = "peft-lora"
    base_model: str
    base_revision: str | None
    files: list[ArtifactFile]
    trained_tokens: int
    steps: int
    first_loss: FiniteFloat | None
    last_loss: FiniteFloat | None
    hyperparameters: Hyperparameters
    trainable_parameters: int
    dataset_sha256: str
    rows: int
    versions: dict[str, str]


def parse_input(raw: Any) -> RunInput:
    """RunPod's `input`. Raises TrainerError `invalid_input` that names each field, its value and what is allowed."""
    try:
        run = RunInput.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(_problem(dict(issue)) for issue in error.errors(include_url=False))
        raise TrainerError("invalid_input", f"The input is not valid: {problems}.", "Correct these fields.") from None
    for name in ("dataset_url", "validation_url", "callback_url"):
        if (url := getattr(run, name)) is not None:
            check_url(name, url)
    if (run.callback_url is None) != (run.callback_secret is None):
        raise TrainerError("invalid_input", "callback_url and callback_secret go together.", "Send both, or neither.")
    return run


def check_url(name: str, url: str) -> None:
    """https only; http to this machine where the operator allows it (TUNEBASE_ALLOW_LOOPBACK=1, for development)."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1") and os.environ.get("TUNEBASE_ALLOW_LOOPBACK") == "1"
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise TrainerError("invalid_input", f"{name} = {shown}…: must be an https address.", "Send an https URL.")


def _problem(issue: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in issue["loc"]) or "input"
    if issue["type"] == "missing":
        return f"{field} is required"
    if issue["type"] == "extra_forbidden":
        return f"{field} is not known"
    if field == "callback_secret":  # never shown, not even a wrong one
        return "callback_secret must begin with whsec_"
    return f"{field} = {str(issue['input'])[:80]!r}: {issue['msg'][0].lower()}{issue['msg'][1:]}"
