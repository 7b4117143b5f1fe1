"""The messages between this worker and Tunebase. The server generates `protocol.schema.json`; tests compare the two."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, FiniteFloat, ValidationError

from ..contract import MAX_GPUS, Evaluation, HyperparameterFields, LogLevel, Message, Method, Metric, Stage
from ..errors import TrainerError

__all__ = ["Metric", "Stage"]  # declared in contract.py, part of the messages

Directive = Literal["continue", "cancel", "pause", "stop"]


# Words of letters, digits and `_`, joined by `-` and `.`, of which no two equal ones are adjacent: the Hub's rule.
HUB_NAME = r"[A-Za-z0-9_]+(?:(?:-(?:\.-)*\.?|\.(?:-\.)*-?)[A-Za-z0-9_]+)*"


class Wandb(Message):
    """A Weights & Biases run that mirrors the job."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]
    entity: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=50)] = Field(
        default_factory=list
    )


class HuggingFace(Message):
    """The Hugging Face Hub's repository that the adapter is pushed to, with this worker's HF_PUSH_TOKEN."""

    repo: Annotated[str, Field(max_length=193, pattern=rf"^{HUB_NAME}/{HUB_NAME}$")]
    private: bool = True


class Hyperparameters(HyperparameterFields):
    """The hyperparameters of contract.py, and what else a run needs."""

    base_model: Annotated[str, Field(min_length=1, max_length=300)]
    base_revision: str | None = None
    method: Method = "supervised"
    wandb: Wandb | None = None
    huggingface: HuggingFace | None = None


class GpuConfig(Message):
    gpu_type: Annotated[str, Field(validation_alias=AliasChoices("gpu_type", "type"))]
    num_gpus: Annotated[int, Field(ge=1, le=MAX_GPUS, validation_alias=AliasChoices("num_gpus", "count"))] = 1
    gpu_memory_gb: Annotated[FiniteFloat, Field(ge=0)] = 0
    cost_per_gpu_hour: Annotated[FiniteFloat, Field(ge=0)] = 0

    @property
    def requires_gpu(self) -> bool:
        """Whether the model is configured for a GPU: `cpu` and `none` are the embedded stack's and the examples'."""
        return self.gpu_type.lower() not in ("cpu", "none")


class RunInput(Message):
    job_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    attempt: Annotated[int, Field(ge=1)] = 1
    dataset_url: str
    validation_url: str | None = None
    hyperparameters: Hyperparameters
    gpu_config: GpuConfig
    execution_timeout_seconds: Annotated[int, Field(ge=1)] | None = None
    adapter_upload_url: Annotated[str | None, Field(repr=False)] = None
    """Without `callback_url`: a tar of the adapter is uploaded here by PUT."""
    callback_url: str | None = None
    callback_secret: Annotated[str, Field(pattern=r"^whsec_")] | None = Field(default=None, repr=False)


# A relative path of plain names: it becomes a file name on this worker's disk, and part of an object name in Storage.
ArtifactPath = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$")
]


class ArtifactFile(Message):
    path: ArtifactPath
    bytes: int
    sha256: str


class FetchedFile(ArtifactFile):
    """A file to download: `url` is valid for an hour."""

    url: Annotated[str, Field(repr=False)]


class Resume(Message):
    """The checkpoint to resume from: its files are in `checkpoints/{step}/`."""

    step: int
    files: list[FetchedFile]


class StartFrom(Message):
    """An earlier fine-tune of the same base model, whose adapter training starts from."""

    files: list[FetchedFile]


class ClaimReply(Message):
    claimed: bool
    fence: int = 0
    lease_seconds: int = 60
    report_seconds: int = 15
    dataset_url: str = ""
    dataset_sha256: str = ""
    validation_url: str | None = None
    validation_sha256: str | None = None
    resume: Resume | None = None
    start_from: StartFrom | None = None
    checkpoint_seconds: int = 600
    reason: str = ""
    detail: str = ""


class LogEvent(Message):
    level: LogLevel
    message: str


class CheckpointReport(Message):
    """A checkpoint whose files have been uploaded and verified; their paths begin with `checkpoints/{step}/`."""

    step: int
    epoch: FiniteFloat
    training_loss: FiniteFloat | None
    validation_loss: FiniteFloat | None
    files: list[ArtifactFile]


class ReportReply(Message):
    directive: Directive
    lease_until: int | None


class UploadTarget(Message):
    path: str
    endpoint: str
    bucket: str
    object: str
    token: Annotated[str, Field(repr=False)]
    content_type: str
    chunk_bytes: int


class UploadsReply(Message):
    directive: Directive
    targets: list[UploadTarget]


class VerifyReply(Message):
    directive: Directive
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
    best_step: int | None = None
    best_validation_loss: FiniteFloat | None = None
    hyperparameters: Hyperparameters
    base_sharded: bool = False
    trainable_parameters: int
    dataset_sha256: str
    rows: int
    validation_rows: int = 0
    versions: dict[str, str]
    chat_template_sha256: str | None = None
    """Of the chat template that rendered the rows: serving must use the same."""
    evaluation: Evaluation | None = None


class AdapterUploaded(Message):
    """The tar that was uploaded to `adapter_upload_url`."""

    bytes: int
    sha256: str


def parse_input(raw: Any) -> RunInput:
    """RunPod's `input`. Raises TrainerError `invalid_input`, which names each field, its value and its range."""
    try:
        run = RunInput.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(_problem(dict(issue)) for issue in error.errors(include_url=False))
        raise TrainerError("invalid_input", f"The input is not valid: {problems}.", "Correct these fields.") from None
    hyper = run.hyperparameters
    if hyper.beta is not None and hyper.method != "dpo":
        message = f"The input is not valid: hyperparameters.beta = {hyper.beta:g}: only method dpo uses beta."
        raise TrainerError("invalid_input", message, "Omit it, or use method = dpo.")
    for name in ("dataset_url", "validation_url", "callback_url", "adapter_upload_url"):
        if (url := getattr(run, name)) is not None:
            check_url(name, url)
    if (run.callback_url is None) != (run.callback_secret is None):
        raise TrainerError("invalid_input", "callback_url and callback_secret go together.", "Send both, or neither.")
    if run.callback_url is not None and run.adapter_upload_url is not None:
        message = (
            "adapter_upload_url is only for a worker without callback_url; Tunebase provides its own upload targets."
        )
        raise TrainerError("invalid_input", message, "Omit adapter_upload_url or callback_url.")
    return run


def is_this_machine(host: str) -> bool:
    """Whether `host` is localhost or an address of this machine, such as that of a container network's bridge."""
    if host in ("localhost", "127.0.0.1", "::1"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
        try:
            probe.bind((host, 0))  # only its own addresses can be bound
        except OSError:
            return False
    return True


def check_url(name: str, url: str) -> None:
    """Raises TrainerError unless `url` is https; TUNEBASE_ALLOW_LOOPBACK=1 allows http to this machine."""
    parts = urlsplit(url)
    local = os.environ.get("TUNEBASE_ALLOW_LOOPBACK") == "1" and is_this_machine(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        origin = f"{parts.scheme}://{parts.hostname or ''}"
        raise TrainerError("invalid_input", f"{name} = {origin}…: must be an https URL.", "Send an https URL.")


def _problem(issue: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in issue["loc"]) or "input"
    if issue["type"] == "missing":
        return f"{field} is required"
    if issue["type"] == "extra_forbidden":
        return f"{field} is not a known field"
    if field == "callback_secret":  # never shown, not even an invalid one
        return "callback_secret must begin with whsec_"
    return f"{field} = {str(issue['input'])[:80]!r}: {issue['msg'][0].lower()}{issue['msg'][1:]}"
