"""Schemathesis hooks: which rejections of schema-valid requests are correct."""

from __future__ import annotations

import json
import os
import re

import schemathesis
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

# What no schema can express: a cursor's item is gone, a file's rows are invalid, a host is not allowed.
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
# `invalid_request` covers rules across fields: two that exclude each other, an id's format, dates out of order.
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


# What the short run has sent: requests, and properties with a wrong type.
_sent: set[tuple[object, ...]] = set()


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(ctx: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """The short run sends each boundary once, and each property one wrong type; the long run sends all five."""
    if "TUNEBASE_FUZZ_SHORT" not in os.environ or case.meta is None:
        return True
    phase = case.meta.phase.data
    if not isinstance(phase, CoveragePhaseData):
        return True
    request = (case.method, case.path, case.media_type, case.meta.generation.mode)
    parts = (case.path_parameters, sorted(case.headers.items()), case.cookies, case.query, case.body)
    keys: list[tuple[object, ...]] = [(*request, repr(parts))]
    if phase.scenario == CoverageScenario.INCORRECT_TYPE:
        keys.append((*request, phase.parameter_location, phase.parameter, phase.location))
    is_new = _sent.isdisjoint(keys)
    _sent.update(keys)
    return is_new


def _is_not_storable(body: object) -> bool:
    """Postgres stores neither NUL nor lone surrogates in text, anywhere in a request."""
    if not isinstance(body, dict | list):
        return False
    return re.search(r"\\u0000|[\ud800-\udfff]", json.dumps(body, ensure_ascii=False)) is not None


@schemathesis.check  # type: ignore[untyped-decorator]  # Schemathesis's decorators are untyped
def valid_is_accepted(ctx: schemathesis.CheckContext, response: Response, case: schemathesis.Case) -> None:
    """A request that the document allows is accepted, or rejected for a reason that no schema can express."""
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
