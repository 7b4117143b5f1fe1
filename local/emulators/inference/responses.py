"""Responses in the format of vLLM's OpenAI-compatible server."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from typing import Any

from completions import Completion
from engine import Step


class Format(ABC):
    """Collects the steps of all choices, and converts each to chunks of a stream."""

    prefix: str
    kind: str
    chunk_kind: str

    def __init__(self, completion: Completion, tokenizer: Any) -> None:
        self.completion = completion
        self.tokenizer = tokenizer
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.steps: list[list[Step]] = [[] for _ in range(completion.n)]

    def add(self, index: int, step: Step) -> None:
        self.steps[index].append(step)

    def chunks(self, index: int, step: Step) -> list[dict[str, Any]]:
        self.add(index, step)
        return [self._chunk([self._delta(index, step)])]

    def first(self) -> list[dict[str, Any]]:
        return []

    def whole(self) -> dict[str, Any]:
        choices = [self._choice(index, steps) for index, steps in enumerate(self.steps)]
        return {**self._head(self.kind), "choices": choices, "usage": self._usage()}

    def usage_chunk(self) -> dict[str, Any]:
        return {**self._chunk([]), "usage": self._usage()}

    def token_text(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))

    @abstractmethod
    def _choice(self, index: int, steps: list[Step]) -> dict[str, Any]: ...

    @abstractmethod
    def _delta(self, index: int, step: Step) -> dict[str, Any]: ...

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self._head(self.chunk_kind), "choices": choices}
        return {**chunk, "usage": self._usage()} if self.completion.continuous_usage else chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.completion.model}

    def _usage(self) -> dict[str, Any]:
        prompt, generated = len(self.completion.prompt), sum(len(steps) for steps in self.steps)
        return {"prompt_tokens": prompt, "total_tokens": prompt + generated, "completion_tokens": generated}


class ChatFormat(Format):
    prefix = "chatcmpl"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def first(self) -> list[dict[str, Any]]:
        delta = {"role": "assistant", "content": ""}
        return [
            self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
            for index in range(self.completion.n)
        ]

    def _choice(self, index: int, steps: list[Step]) -> dict[str, Any]:
        last = steps[-1]
        text = "".join(step.text for step in steps)
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []},
            "logprobs": self._logprobs(steps),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }

    def _delta(self, index: int, step: Step) -> dict[str, Any]:
        choice = {"index": index, "delta": {"content": step.text}, "logprobs": self._logprobs([step])}
        if step.finish_reason is None:
            return {**choice, "finish_reason": None}
        return {**choice, "finish_reason": step.finish_reason, "stop_reason": step.stop_reason}

    def _logprobs(self, steps: list[Step]) -> dict[str, Any] | None:
        if self.completion.sampling.logprobs is None:
            return None
        return {
            "content": [
                {**self._entry(*step.logprobs[0]), "top_logprobs": [self._entry(*entry) for entry in step.logprobs[1:]]}
                for step in steps
                if step.logprobs is not None
            ]
        }

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.token_text(token)
        # As in vLLM, because JSON has no -inf.
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


class CompletionFormat(Format):
    prefix = "cmpl"
    kind = "text_completion"
    chunk_kind = "text_completion"

    def _choice(self, index: int, steps: list[Step]) -> dict[str, Any]:
        last = steps[-1]
        return {
            "index": index,
            "text": self.completion.echo + "".join(step.text for step in steps),
            "logprobs": self._logprobs(steps),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }

    def _delta(self, index: int, step: Step) -> dict[str, Any]:
        return {
            "index": index,
            "text": (self.completion.echo if len(self.steps[index]) == 1 else "") + step.text,
            "logprobs": self._logprobs([step]),
            "finish_reason": step.finish_reason,
            "stop_reason": step.stop_reason,
        }

    def _logprobs(self, steps: list[Step]) -> dict[str, Any] | None:
        if self.completion.sampling.logprobs is None:
            return None
        offset = 0
        result: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for step in steps:
            if step.logprobs is None:
                continue
            (token, logprob), *top = step.logprobs
            text = self.token_text(token)
            result["text_offset"].append(offset)
            result["token_logprobs"].append(max(logprob, -9999.0))
            result["tokens"].append(text)
            result["top_logprobs"].append({self.token_text(other): max(value, -9999.0) for other, value in top})
            offset += len(text)
        return result
