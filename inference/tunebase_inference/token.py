"""The token of a request. It does not identify the caller, only the one model that may run and its adapter's files."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import invalid_token

BASE_NAME = "base"
ISSUER = "tunebase"
# The API issues tokens for 360 seconds, longer than a load-balancing endpoint allows a request to run.
MAX_LIFETIME_SECONDS = 900
# The tolerated difference between the clocks of the API and the worker.
LEEWAY_SECONDS = 30
MAX_FILE_BYTES = 64 * 2**30

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No subdirectories, and no pickles: vLLM also loads .bin and .pt, which can run code.
FileName = Annotated[
    str, Field(max_length=200, pattern=r"^(adapter_config\.json|adapter_model[A-Za-z0-9._-]*\.safetensors)$")
]


class _Claims(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class AdapterFile(_Claims):
    path: FileName
    url: Annotated[str, Field(min_length=1, max_length=4096)]
    bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]
    sha256: Sha256


class Adapter(_Claims):
    rank: Annotated[int, Field(ge=1, le=4096)]
    bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]
    files: Annotated[list[AdapterFile], Field(min_length=2, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Adapter:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise ValueError("two files have the same path")
        if "adapter_config.json" not in paths or len(paths) < 2:
            raise ValueError("files must be adapter_config.json and the weights")
        if sum(file.bytes for file in self.files) != self.bytes:
            raise ValueError("bytes is not the sum of the files' bytes")
        return self


class Base(_Claims):
    source: Annotated[str, Field(min_length=1, max_length=300)]
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None


class Claims(_Claims):
    iss: str
    aud: str
    iat: int
    exp: int
    jti: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    base: Base
    model: Annotated[str, Field(pattern=r"^(base|tb-[0-9a-f]{32}-[0-9a-f]{16})$")]
    adapter: Adapter | None
    cache_salt: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _check(self) -> Claims:
        if (self.model == BASE_NAME) != (self.adapter is None):
            raise ValueError("an adapter needs a name of its own, and the base none")
        # A name must identify the contents, because it is the key of vLLM's prefix cache and of files on disk.
        if self.adapter is not None and self.model[-16:] != content_hash(self.adapter.files):
            raise ValueError("the name does not match the files")
        if self.exp - self.iat > MAX_LIFETIME_SECONDS:
            raise ValueError("the token is valid for too long")
        return self


def content_hash(files: list[AdapterFile]) -> str:
    """The suffix of an adapter's name: 16 hex digits of the SHA-256 of its sorted lines `path:sha256`."""
    lines = sorted(f"{file.path}:{file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def verify(token: str, secret: str, endpoint_id: str) -> Claims:
    """Checks signature, issuer, audience and times, then every claim. Raises RequestError 401."""
    try:
        payload: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            issuer=ISSUER,
            audience=endpoint_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "iat", "exp", "jti"]},
        )
        return Claims.model_validate(payload)
    except jwt.ExpiredSignatureError:
        raise invalid_token("The token has expired.") from None
    except jwt.InvalidAudienceError:
        raise invalid_token("The token is for another endpoint.") from None
    except jwt.InvalidTokenError:
        raise invalid_token("The token is not valid.") from None
    except ValidationError as error:
        # Never the value, because its URLs grant access to files.
        issue = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in issue["loc"]) or "token"
        raise invalid_token(f"The token's claims are not valid: {where}: {issue['msg']}.") from None
