"""The worker's errors, in the format that OpenAI's SDKs read."""

from __future__ import annotations

import json


class RequestError(Exception):
    """Ends a request with an HTTP status. `message` reaches the client; it never contains a URL or a token."""

    def __init__(self, status: int, code: str, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


def invalid_token(message: str) -> RequestError:
    return RequestError(401, "invalid_token", message, "authentication_error")


def adapter_error(code: str, message: str) -> RequestError:
    """424: the request is valid, but the adapter it depends on is not. vLLM and RunPod never use this status."""
    return RequestError(424, code, message, "adapter_error")
