"""What Python says fits the schema that the server generated; the same examples as the server's own tests read."""

import json
from typing import Any

import jsonschema
import pytest
from support.paths import REPOSITORY, TRAINER

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.worker import protocol

SCHEMAS = json.loads((TRAINER / "protocol.schema.json").read_text())["$defs"]
EXAMPLES = json.loads((REPOSITORY / "tests/fixtures/protocol_messages.json").read_text())
RUN: dict[str, Any] = next(e["value"] for e in EXAMPLES if e["message"] == "RunInput")


def fits(name: str, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(value))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['message']}: {e.get('why', 'valid')}")
def test_the_schema_accepts_or_rejects_each_example(example: dict[str, Any]) -> None:
    assert fits(example["message"], example["value"]) == example["valid"]


@pytest.mark.parametrize("name", ["ClaimReply", "ReportReply", "UploadsReply", "VerifyReply", "FinishReply"])
def test_the_worker_reads_every_valid_reply(name: str) -> None:
    replies = [e["value"] for e in EXAMPLES if e["message"] == name and e["valid"]]
    assert replies
    for reply in replies:
        getattr(protocol, name).model_validate(reply)


def test_a_manifest_of_the_worker_fits_the_schema() -> None:
    done = next(e["value"] for e in EXAMPLES if e["message"] == "HandlerOutput" and e["value"]["status"] == "completed")
    manifest = protocol.Manifest.model_validate(done["manifest"])
    assert fits("HandlerOutput", {**done, "manifest": manifest.model_dump()})


def test_valid_input_is_parsed_with_defaults() -> None:
    run = protocol.parse_input(RUN)
    assert run.hyperparameters.lora_rank == 16
    short = {k: v for k, v in RUN["hyperparameters"].items() if k not in ("seed", "weight_decay", "warmup_steps")}
    assert protocol.parse_input({**RUN, "hyperparameters": short}).hyperparameters.seed == 42


# @proves report-cost-nan
def test_older_field_names_are_accepted() -> None:
    hyper = dict(RUN["hyperparameters"])
    for new, old in (
        ("num_epochs", "epochs"),
        ("lora_rank", "rank"),
        ("lora_alpha", "alpha"),
        ("lora_dropout", "dropout"),
    ):
        hyper[old] = hyper.pop(new)
    gpu = {"type": "A100", "count": 2, "gpu_memory_gb": 80, "cost_per_gpu_hour": 1}
    run = protocol.parse_input({**RUN, "hyperparameters": hyper, "gpu_config": gpu})
    assert (run.hyperparameters.num_epochs, run.hyperparameters.lora_alpha, run.gpu_config.num_gpus) == (3, 32, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attempt": "x"}, "attempt = 'x'"),
        ({"surprise": 1}, "surprise is not a known field"),
        ({"hyperparameters": {**RUN["hyperparameters"], "learning_rate": 1}}, "hyperparameters.learning_rate = '1'"),
        ({"hyperparameters": {**RUN["hyperparameters"], "num_epochs": 0}}, "greater than or equal to 1"),
        ({"hyperparameters": {**RUN["hyperparameters"], "lora_dropout": float("nan")}}, "lora_dropout"),
        ({"hyperparameters": {}}, "hyperparameters.base_model is required"),
        ({"dataset_url": "http://example.com/x"}, "must be an https URL"),
        ({"dataset_url": "file:///etc/passwd"}, "must be an https URL"),
        ({"callback_secret": None}, "must be sent together"),
        ({"hyperparameters": {**RUN["hyperparameters"], "beta": 0.1}}, "beta = 0.1: only method dpo uses beta"),
    ],
)
def test_invalid_input_names_the_field_and_what_is_allowed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainerError) as caught:
        protocol.parse_input({**RUN, **change})
    assert caught.value.code == "invalid_input"
    assert said in caught.value.message


# @proves no-secret-in-input
def test_a_wrong_secret_is_never_shown() -> None:
    with pytest.raises(TrainerError) as caught:
        protocol.parse_input({**RUN, "callback_secret": "hunter2"})
    assert "hunter2" not in caught.value.message
    assert "whsec_AAAA" not in repr(protocol.parse_input(RUN))


def test_http_is_allowed_only_for_loopback_with_the_operators_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:1/x", "http://localhost/x"):
        with pytest.raises(TrainerError):
            protocol.check_url("dataset_url", url)
    monkeypatch.setenv("TUNEBASE_ALLOW_LOOPBACK", "1")
    for own in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2"):
        protocol.check_url("dataset_url", f"http://{own}:1/x")
    for other in ("127.0.0.1.example.com", "192.0.2.1", "[2001:db8::1]"):  # the addresses are for documentation only
        with pytest.raises(TrainerError):
            protocol.check_url("dataset_url", f"http://{other}/x")
