"""Samples the next token from logits, with vLLM's sampling parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SamplingOptions:
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    stop: tuple[str, ...] = ()
    # How many of the most likely tokens to report; None: report no logprobs.
    logprobs: int | None = None


class Sampler:
    """The sampler of one sequence, whose random numbers depend only on its seed."""

    def __init__(self, torch: Any, options: SamplingOptions) -> None:
        self._torch = torch
        self._options = options
        self._generator = torch.Generator()
        if options.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(options.seed % 2**63)

    def next(
        self, logits: Any, prompt: list[int], tokens: list[int], end_tokens: set[int]
    ) -> tuple[int, list[tuple[int, float]] | None]:
        """The token, and the logprobs of it and of the most likely ones. As in vLLM, before penalties and
        temperature."""
        raw = logits.log_softmax(-1) if self._options.logprobs is not None else None
        token = self._choose(self._adjusted(logits.clone(), prompt, tokens, end_tokens))
        if raw is None:
            return token, None
        values, ids = raw.topk(self._options.logprobs or 1)
        top = list(zip(ids.tolist(), values.tolist(), strict=True))[: self._options.logprobs]
        return token, [(token, float(raw[token])), *top]

    def _adjusted(self, logits: Any, prompt: list[int], tokens: list[int], end_tokens: set[int]) -> Any:
        options = self._options
        if options.repetition_penalty != 1.0:
            seen = self._torch.tensor(sorted({*prompt, *tokens}))
            scores = logits[seen]
            penalty = options.repetition_penalty
            logits[seen] = self._torch.where(scores < 0, scores * penalty, scores / penalty)
        if tokens and (options.presence_penalty or options.frequency_penalty):
            counts = self._torch.bincount(self._torch.tensor(tokens), minlength=len(logits))
            logits -= options.frequency_penalty * counts + options.presence_penalty * (counts > 0)
        for token, bias in options.logit_bias.items():
            if 0 <= token < len(logits):
                logits[token] += bias
        if len(tokens) < options.min_tokens:
            logits[sorted(end_tokens)] = -float("inf")
        return logits

    def _choose(self, logits: Any) -> int:
        options = self._options
        if options.temperature < 1e-5:
            return int(logits.argmax())
        logits = logits / options.temperature
        if options.top_k > 0:
            logits[logits < logits.topk(min(options.top_k, len(logits))).values[-1]] = -float("inf")
        probabilities = logits.softmax(-1)
        if options.min_p > 0:
            probabilities[probabilities < options.min_p * probabilities.max()] = 0
        if options.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered > options.top_p * ordered.sum()] = 0
            probabilities = self._torch.zeros_like(probabilities).scatter(0, order, ordered)
        return int(self._torch.multinomial(probabilities, 1, generator=self._generator))
