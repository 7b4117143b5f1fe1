"""Valid and invalid tokens."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest
from conftest import ENDPOINT, SECRET, FileServer, base_claims, store

from tunebase_inference.errors import RequestError
from tunebase_inference.token import verify


def refusal(token: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        verify(token, SECRET, ENDPOINT)
    assert (caught.value.status, caught.value.code) == (401, "invalid_token")
    return caught.value


def test_accepts_a_token_for_the_base_and_for_an_adapter() -> None:
    assert verify(jwt.encode(base_claims(), SECRET, "HS256"), SECRET, ENDPOINT).adapter is None
    stored = store(FileServer(url="https://storage"))
    assert verify(stored.token(), SECRET, ENDPOINT).model == stored.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exp": int(time.time()) - 60, "iat": int(time.time()) - 400}, "expired"),
        ({"aud": "endpoint-2"}, "another endpoint"),
        ({"iss": "someone"}, "not valid"),
        ({"iat": int(time.time()) + 600, "exp": int(time.time()) + 900}, "not valid"),
        ({"exp": int(time.time()) + 10**6}, "valid for too long"),
        ({"jti": "1"}, "jti"),
        ({"model": "tb-1"}, "model"),
        ({"model": "tb-" + "0" * 32 + "-" + "0" * 16}, "a name of its own"),
        ({"base": {"source": "org/base"}}, "base.revision"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"scope": "admin"}, "scope"),
        ({"iat": "now"}, "not valid"),
    ],
)
def test_rejects_wrong_claims_and_names_them(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(jwt.encode({**base_claims(), **changes}, SECRET, "HS256")).message


@pytest.mark.parametrize("claim", sorted(base_claims()))
def test_rejects_a_token_that_lacks_a_claim(claim: str) -> None:
    claims = base_claims()
    del claims[claim]
    refusal(jwt.encode(claims, SECRET, "HS256"))


def test_rejects_other_keys_algorithms_and_texts() -> None:
    claims = base_claims()
    refusal(jwt.encode(claims, SECRET[::-1], "HS256"))
    refusal(jwt.encode(claims, SECRET * 2, "HS512"))
    header, payload, _ = jwt.encode(claims, SECRET, "HS256").split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    refusal(f"{unsigned}.{payload}.")
    for text in ("", "x", f"{header}.{payload}.", f"{header}.{payload}", "a.b.c", "é.é.é"):
        refusal(text)


def test_the_name_is_bound_to_the_contents() -> None:
    storage = FileServer(url="https://storage")
    one, other = store(storage, b"one"), store(storage, b"other")
    assert "does not match the files" in refusal(one.token(adapter=other.claims["adapter"])).message


@pytest.mark.parametrize(
    "path",
    [
        "../adapter_config.json",
        "/etc/passwd",
        "a/adapter_model.safetensors",
        "adapter_model.bin",
        "adapter_model.safetensors\n",
        "x",
    ],
)
def test_rejects_paths_that_are_not_an_adapters_files(path: str) -> None:
    stored = store(FileServer(url="https://storage"))
    files = stored.claims["adapter"]["files"]
    refusal(stored.token(adapter={**stored.claims["adapter"], "files": [files[0], {**files[1], "path": path}]}))


@pytest.mark.parametrize("changes", [{"bytes": 1}, {"bytes": -1}, {"rank": 0}, {"rank": "8"}, {"files": []}])
def test_rejects_an_adapter_that_contradicts_itself(changes: dict[str, Any]) -> None:
    stored = store(FileServer(url="https://storage"))
    refusal(stored.token(adapter={**stored.claims["adapter"], **changes}))


def test_no_message_contains_a_signed_url() -> None:
    stored = store(FileServer(url="https://storage"))
    adapter = {**stored.claims["adapter"], "bytes": 1}
    assert "storage" not in refusal(stored.token(adapter=adapter)).message
