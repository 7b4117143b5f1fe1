"""What the two languages must agree on: the cases that the server computed, and the fields of every message."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tunebase_trainer.contract import ErrorCode, HyperparameterFields, Metric
from tunebase_trainer.data.split import held_out
from tunebase_trainer.training.gpu_memory import ParameterCounts, automatic_quantization, estimate_memory, is_sharded
from tunebase_trainer.training.schedule import automatic_eval_steps
from tunebase_trainer.worker import protocol

HERE = Path(__file__).parent
CASES = json.loads((HERE / "contract_cases.json").read_text())
SCHEMAS: dict[str, Any] = json.loads((HERE.parent / "protocol.schema.json").read_text())["$defs"]


@pytest.mark.parametrize("case", CASES["gpu_memory"])
def test_gpu_memory_estimates_match_the_servers(case: dict[str, Any]) -> None:
    whole = estimate_memory(ParameterCounts(**case["counts"]), case["quantization"])
    part = whole if case["gpus"] == 1 else whole.sharded(case["gpus"])
    assert part.required(case["tokens"]) == pytest.approx(case["bytes"], rel=1e-12)
    assert part.likely(case["tokens"], case["vocabulary"]) == pytest.approx(case["likely_bytes"], rel=1e-12)


@pytest.mark.parametrize("case", CASES["quantization"])
def test_auto_means_the_same_as_on_the_server(case: dict[str, Any]) -> None:
    counts = ParameterCounts(**case["counts"])
    found = automatic_quantization(counts, case["tokens"], case["vocabulary"], case["available"], case["gpus"])
    assert found == case["quantization"]


@pytest.mark.parametrize("case", CASES["sharded"])
def test_a_base_is_sharded_where_the_server_says_so(case: dict[str, Any]) -> None:
    memory = estimate_memory(ParameterCounts(**case["counts"]), case["quantization"])
    asked = (case["tokens"], case["vocabulary"], case["available"], case["gpus"])
    assert is_sharded(memory, *asked) == case["sharded"]


@pytest.mark.parametrize("case", CASES["held_out"])
def test_a_split_holds_out_as_many_rows_as_the_server_estimates(case: dict[str, Any]) -> None:
    assert held_out(case["rows"], case["share"]) == case["held"]


@pytest.mark.parametrize("case", CASES["eval_steps"])
def test_a_run_validates_as_often_as_the_server_estimates(case: dict[str, Any]) -> None:
    given = (case["total_steps"], case["epochs"], case["training_tokens"], case["validation_tokens"])
    assert automatic_eval_steps(*given) == case["eval_steps"]


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that a message may be."""
    return list(schema.get("oneOf") or schema.get("anyOf") or [schema])


def fields(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: shape for schema in schemas for name, shape in schema["properties"].items()}


def within(message: str, *path: str) -> list[dict[str, Any]]:
    """The schema of a member, through lists and null."""
    found = branches(SCHEMAS[message])
    for name in path:
        member = fields([schema for schema in found if name in schema.get("properties", {})])[name]
        found = [one for one in branches(member) if one.get("type") != "null"]
        found = [one.get("items", one) for one in found]
    return found


MODELS: list[tuple[type[BaseModel], list[dict[str, Any]]]] = [
    (protocol.RunInput, within("RunInput")),
    (protocol.Hyperparameters, within("RunInput", "hyperparameters")),
    (protocol.Wandb, within("RunInput", "hyperparameters", "wandb")),
    (protocol.HuggingFace, within("RunInput", "hyperparameters", "huggingface")),
    (protocol.GpuConfig, within("RunInput", "gpu_config")),
    (protocol.ClaimReply, within("ClaimReply")),
    (protocol.Resume, within("ClaimReply", "resume")),
    (protocol.StartFrom, within("ClaimReply", "start_from")),
    (protocol.FetchedFile, within("ClaimReply", "resume", "files")),
    (Metric, within("ReportRequest", "metrics")),
    (protocol.LogEvent, within("ReportRequest", "events")),
    (protocol.CheckpointReport, within("ReportRequest", "checkpoints")),
    (protocol.ReportReply, within("ReportReply")),
    (protocol.UploadsReply, within("UploadsReply")),
    (protocol.UploadTarget, within("UploadsReply", "targets")),
    (protocol.VerifyReply, within("VerifyReply")),
    (protocol.FinishReply, within("FinishReply")),
    (protocol.ArtifactFile, within("VerifyRequest", "file")),
    (protocol.Manifest, within("FinishRequest", "manifest")),
]


@pytest.mark.parametrize(("model", "schemas"), MODELS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_model_has_the_fields_of_its_message_and_no_other(
    model: type[BaseModel], schemas: list[dict[str, Any]]
) -> None:
    assert set(model.model_fields) == set(fields(schemas))


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "maxItems", "default")
LARGEST = 2**53 - 1
"""JavaScript's largest whole number, which is no bound that anybody set."""


def bounds(shape: dict[str, Any]) -> dict[str, Any]:
    """What a value may be, as both generators write it; a number is a number."""
    plain = next(one for one in branches(shape) if one.get("type") != "null")
    items = plain.get("items", {})
    found = {name: plain[name] for name in BOUNDS if name in plain and plain[name] != LARGEST}
    found |= {"items": items.get("enum")}
    return found | ({"default": shape["default"]} if "default" in shape else {})


def test_the_hyperparameters_have_the_ranges_and_defaults_of_the_protocol() -> None:
    ours = HyperparameterFields.model_json_schema(by_alias=False)
    theirs = within("RunInput", "hyperparameters")[0]
    for name, shape in ours["properties"].items():
        assert bounds(shape) == bounds(theirs["properties"][name]), name
    assert set(ours["required"]) == set(theirs["required"]) - {"base_model"}


def test_error_codes_match_the_protocol() -> None:
    assert list(ErrorCode.__args__) == within("FinishRequest", "error_code")[0]["enum"]  # type: ignore[attr-defined]
