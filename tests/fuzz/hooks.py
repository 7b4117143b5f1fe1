"""Schemathesis hooks: which rejections of schema-valid requests are correct."""

from __future__ import annotations

import json
import os
import re

import schemathesis
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

# What a schema cannot say: a cursor's item may be gone, a file's rows be no rows, a host not be allowed.
MEANING = {
    "cursor_not_found",
    "invalid_file",
    "invalid_multipart",
    "part_not_found",
    "upload_size",
    "receiver_unreachable",
    "email_not_configured",
    "invalid_time_zone",
    "unsupported",
    "wrong_purpose",
    "user_required",
    "precondition_failed",
    "too_large",
    "no_completions_found",
}
# `invalid_request` for what lies between fields: two ways of saying one thing, an id's form, days out of order.
BETWEEN = {
    "hyperparameters",
    "hyperparameters.beta",
    "method.supervised.hyperparameters",
    "method.supervised.hyperparameters.beta",
    "method.dpo.hyperparameters",
    "training_file",
    "validation_file",
    "file",
    "from",
    "url",
    "target",
    "last-event-id",
    "webhook_endpoint_id",
    "notification_channel_id",
    "fine_tuning_job_id",
    "expires_at",
    "if-match",
    "metadata",
    "email",
    # Limits of the parts of a name.
    "integrations.0.huggingface.repo",
    "integrations.1.huggingface.repo",
}


# Properties that the short run has sent a wrong type of.
_wrong_types: set[tuple[str, str]] = set()


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(ctx: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """The short run sends each property one wrong type; the long one sends all five."""
    phase = None if case.meta is None else case.meta.phase.data
    if (
        "TUNEBASE_FUZZ_SHORT" not in os.environ
        or not isinstance(phase, CoveragePhaseData)
        or phase.scenario != CoverageScenario.INCORRECT_TYPE
    ):
        return True
    place = (case.operation.label, f"{phase.parameter_location} {phase.parameter} {phase.location}")
    is_new = place not in _wrong_types
    _wrong_types.add(place)
    return is_new


def _is_not_storable(body: object) -> bool:
    """Postgres stores neither NUL nor lone surrogates in text, anywhere in a request."""
    if not isinstance(body, dict | list):
        return False
    return re.search(r"\\u0000|[\ud800-\udfff]", json.dumps(body, ensure_ascii=False)) is not None


@schemathesis.check  # type: ignore[untyped-decorator]  # Schemathesis's decorators are untyped
def valid_is_accepted(ctx: schemathesis.CheckContext, response: Response, case: schemathesis.Case) -> None:
    """A request that the document allows is taken, or refused for what no schema can say."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if response.status_code not in (400, 405, 412, 413, 415, 422):
        return
    error = response.json()["error"]
    if error["code"] == "invalid_request" and _is_not_storable(case.body):
        return
    if re.fullmatch(r"graders\.\d+\.pattern", error["param"] or ""):
        return
    if error["code"] in MEANING or (error["code"] == "invalid_request" and error["param"] in BETWEEN):
        return
    raise AssertionError(f"A valid request was refused: {error}")
