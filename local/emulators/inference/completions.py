"""Validates requests like vLLM, with its error texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sampling import SamplingOptions

if TYPE_CHECKING:
    from engine import Engine

MAX_LOGPROBS = 20


class ApiError(Exception):
    """An error in vLLM's format, where `code` is the status."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return {"error": error}


@dataclass(frozen=True)
class Completion:
    """What to generate, and how to respond."""

    model: str
    prompt: list[int]
    n: int
    stream: bool
    include_usage: bool
    # In each chunk, so that an incomplete answer can be billed.
    continuous_usage: bool
    sampling: SamplingOptions
    # For the completions route: the prompt's text, if it must be echoed.
    echo: str = ""

    def options(self, index: int) -> SamplingOptions:
        """Each choice has its own seed, as in vLLM."""
        seed = self.sampling.seed
        return self.sampling if seed is None else replace(self.sampling, seed=seed + index)


def parse_chat(body: dict[str, Any], engine: Engine) -> Completion:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise ApiError(400, "messages: Field required, a list of messages", param="messages")
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind != "text":
        message = f"response_format {kind}: this local engine has no constrained decoding; the inference image does."
        raise ApiError(400, message, param="response_format")
    template = {**(body.get("chat_template_kwargs") or {}), "tools": body.get("tools") or None}
    try:
        text = engine.tokenizer.apply_chat_template(
            [_plain(message) for message in messages], tokenize=False, add_generation_prompt=True, **template
        )
    except Exception as error:  # a template can raise anything
        raise ApiError(400, f"{type(error).__name__}: {error}", param="messages") from None
    logprobs = _integer(body, "top_logprobs", 0, MAX_LOGPROBS) or 0 if body.get("logprobs") else None
    return _completion(body, engine, engine.tokenizer(text, add_special_tokens=False).input_ids, logprobs)


def parse_completion(body: dict[str, Any], engine: Engine) -> Completion:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        ids = engine.tokenizer(prompt).input_ids
    elif isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        ids = prompt
        if not all(0 <= token < len(engine.tokenizer) for token in prompt):
            raise ApiError(400, "prompt: token id is out of vocabulary", param="prompt")
    else:
        raise ApiError(400, "prompt: must be a text or a list of token ids", param="prompt")
    if not ids:
        raise ApiError(400, "The decoder prompt cannot be empty", param="prompt")
    # OpenAI's default for this legacy route.
    return _completion({"max_tokens": 16, **body}, engine, ids, _integer(body, "logprobs", 0, MAX_LOGPROBS))


def _completion(body: dict[str, Any], engine: Engine, prompt: list[int], logprobs: int | None) -> Completion:
    limit = engine.max_length
    if len(prompt) >= limit:
        message = (
            f"This model's maximum context length is {limit} tokens. However, your prompt contains {len(prompt)} input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt."
        )
        raise ApiError(400, message, param="input_tokens")
    longest = limit - len(prompt)
    asked = _integer(body, "max_completion_tokens", 1) or _integer(body, "max_tokens", 1)
    if asked is not None and asked > longest:
        message = (
            f"This model's maximum context length is {limit} tokens. However, you requested {asked} output tokens and "
            f"your prompt contains {len(prompt)} input tokens, for a total of {asked + len(prompt)} tokens. Please "
            "reduce the length of the input prompt or the number of requested output tokens."
        )
        raise ApiError(400, message, param="max_tokens")
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise ApiError(400, "stop cannot contain an empty string", param="stop")
    defaults = engine.defaults

    def number(name: str, low: float, high: float, fallback: float) -> float:
        return _number(body, name, low, high, float(engine.defaults.get(name, fallback)))

    sampling = SamplingOptions(
        max_tokens=asked or longest,
        temperature=number("temperature", 0, 2, 1.0),
        top_p=number("top_p", 1e-9, 1, 1.0),
        top_k=max(0, _integer(body, "top_k", -1) or int(defaults.get("top_k", 0))),
        min_p=number("min_p", 0, 1, 0.0),
        repetition_penalty=number("repetition_penalty", 1e-9, 1e9, 1.0),
        presence_penalty=number("presence_penalty", -2, 2, 0.0),
        frequency_penalty=number("frequency_penalty", -2, 2, 0.0),
        logit_bias={int(token): float(bias) for token, bias in (body.get("logit_bias") or {}).items()},
        min_tokens=_integer(body, "min_tokens", 0) or 0,
        ignore_eos=body.get("ignore_eos") is True,
        seed=_integer(body, "seed"),
        stop=tuple(stop),
        logprobs=logprobs,
    )
    stream = body.get("stream") is True
    options = body.get("stream_options") or {}
    if options and not stream:
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    return Completion(
        model=str(body["model"]),
        prompt=prompt,
        n=_integer(body, "n", 1, 128) or 1,
        stream=stream,
        include_usage=options.get("include_usage") is True,
        continuous_usage=options.get("continuous_usage_stats") is True,
        sampling=sampling,
        echo=engine.tokenizer.decode(prompt) if body.get("echo") is True else "",
    )


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Joins the text parts of a message's content."""
    content = message.get("content")
    if not isinstance(content, list):
        return {**message, "content": content if content is not None else ""}
    if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        raise ApiError(400, "Only text is supported in messages.", param="messages")
    return {**message, "content": "\n".join(part["text"] for part in content)}


def _integer(body: dict[str, Any], name: str, low: int | None = None, high: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or (low is not None and value < low) or (high is not None and value > high):
        limits = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
        raise ApiError(400, f"{name} must be an integer{limits}, got {value}.", param=name)
    return value


def _number(body: dict[str, Any], name: str, low: float, high: float, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if type(value) not in (int, float) or not low <= value <= high:
        raise ApiError(400, f"{name} must be in [{low:g}, {high:g}], got {value}.", param=name)
    return float(value)
