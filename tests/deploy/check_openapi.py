"""Checks HTTP exchanges (JSON on stdin) against an OpenAPI description. Prints a list of problems."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


def main(path: str) -> None:
    document = json.loads(Path(path).read_text(), object_hook=without_nullable)
    routes = [
        (re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", template) + "$"), methods)
        for template, methods in document["paths"].items()
    ]
    problems: list[str] = []
    exchanges = json.load(sys.stdin)
    for exchange in exchanges:
        method, status = exchange["method"], exchange["status"]
        url = exchange["path"].split("?")[0]
        name = f"{method} {exchange['path']} -> {status}"
        # A path without parameters wins.
        found = [methods for pattern, methods in sorted(routes, key=lambda route: "[^/]+" in route[0].pattern)
                 if pattern.match(url) and method.lower() in methods]  # fmt: skip
        if not found:
            problems.append(f"{name}: no such operation")
            continue
        operation = found[0][method.lower()]
        problems += check_request(document, operation, exchange, name)
        problems += check_response(document, operation, exchange, name)
    print(json.dumps(problems))


def without_nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0's `nullable` as JSON Schema."""
    if schema.get("nullable") is not True:
        return schema
    return {"anyOf": [{**schema, "nullable": False}, {"type": "null"}]}


def check_request(document: Any, operation: Any, exchange: Any, name: str) -> list[str]:
    """A body that was accepted must be valid, and one answered with 422 must not be."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is None or exchange["request"] in ("", None):
        return []
    errors = validate(document, schema, exchange["request"])
    if exchange["status"] < 300 and errors:
        return [f"{name}: accepted although {errors}"]
    if exchange["status"] == 422 and not errors:
        return [f"{name}: rejected although valid: {exchange['request']}"]
    return []


def check_response(document: Any, operation: Any, exchange: Any, name: str) -> list[str]:
    responses = operation["responses"]
    response = responses.get(str(exchange["status"]), responses.get("default"))
    if response is None:
        return [f"{name}: this status is not described"]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].split("/")[-1]]
    for content in response.get("content", {}).values():
        errors = validate(document, content["schema"], exchange["response"])
        if errors:
            return [f"{name}: response: {errors}"]
    return []


def validate(document: Any, schema: Any, value: Any) -> list[str]:
    # References are relative to the whole document.
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [f"{error.json_path}: {error.message}"[:300] for error in validator.iter_errors(value)]


main(sys.argv[1])
