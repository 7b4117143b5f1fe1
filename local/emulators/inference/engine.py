"""The emulator's engine: transformers and PEFT, with several adapters on one base and interleaved sequences.

One thread owns the model. It generates one token per running sequence and turn, so that streams advance together, as
with vLLM. A single sequence gets exactly the tokens of plain greedy `generate`. Heavy imports happen in that thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampling import Sampler, SamplingOptions

log = logging.getLogger("tunebase.inference")


@dataclass(frozen=True)
class Step:
    """One token of a sequence. `logprobs`: token id and logprob of the chosen one, then of the most likely ones."""

    text: str
    token: int
    logprobs: list[tuple[int, float]] | None
    finish_reason: str | None
    stop_reason: str | None = None


@dataclass
class Sequence:
    """A prompt and the tokens generated so far."""

    prompt: list[int]
    options: SamplingOptions
    # The adapter's opaque name and directory; None: the base.
    adapter: tuple[str, Path] | None
    loop: asyncio.AbstractEventLoop
    steps: asyncio.Queue[Step | Exception] = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    tokens: list[int] = field(default_factory=list)
    cache: Any = None
    sampler: Sampler | None = None
    decoder: Decoder | None = None

    def emit(self, step: Step | Exception) -> None:
        try:
            self.loop.call_soon_threadsafe(self.steps.put_nowait, step)
        except RuntimeError:
            pass  # the server has stopped


class Decoder:
    """Decodes tokens incrementally. Holds back incomplete characters, and text that may become a stop sequence."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._tokens: list[int] = []
        self._read = 0  # the number of tokens whose text is complete
        self._held = ""

    def add(self, token: int) -> tuple[str, str | None]:
        """The new text, and the stop sequence that ended it, if any."""
        self._tokens.append(token)
        start = max(0, self._read - 4)  # some tokenizers decode a token differently at the beginning
        before = self._text(start, self._read)
        after = self._text(start, len(self._tokens))
        if after.endswith("\ufffd"):
            return "", None
        self._read = len(self._tokens)
        self._held += after[len(before) :]
        found = min(
            ((self._held.find(stop), stop) for stop in self._stop if stop in self._held),
            default=None,
        )
        if found is not None:
            text, self._held = self._held[: found[0]], ""
            return text, found[1]
        keep = max((self._overlap(stop) for stop in self._stop), default=0)
        text = self._held[: len(self._held) - keep]
        self._held = self._held[len(text) :]
        return text, None

    def rest(self) -> str:
        """The text that was held back, once the sequence has ended."""
        text = self._held + self._text(self._read, len(self._tokens))
        self._held, self._read = "", len(self._tokens)
        return text

    def _overlap(self, stop: str) -> int:
        """How many characters at the end may be the start of `stop`."""
        return next((n for n in range(min(len(stop) - 1, len(self._held)), 0, -1) if self._held.endswith(stop[:n])), 0)

    def _text(self, start: int, end: int) -> str:
        return str(self._tokenizer.decode(self._tokens[start:end], skip_special_tokens=True))


class Engine:
    """`start` returns at once. `status` is 204 while the model loads, then 200, or 503 if the thread has failed."""

    def __init__(self, base: Callable[[], Path], max_length: int | None, max_adapters: int) -> None:
        self.status = 204
        self.tokenizer: Any = None
        self.max_length = 0
        self.defaults: dict[str, Any] = {}
        self.ready = threading.Event()
        self._base = base
        self._max_length = max_length
        self._max_adapters = max_adapters
        self._wake = threading.Condition()
        self._arriving: list[Sequence] = []
        self._model: Any = None
        self._torch: Any = None
        self._adapters: OrderedDict[str, None] = OrderedDict()
        self._active: str | None = None
        self._ids = itertools.count()

    def start(self) -> None:
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    async def generate(
        self, prompt: list[int], options: SamplingOptions, adapter: tuple[str, Path] | None
    ) -> AsyncGenerator[Step, None]:
        """Yields the steps of one sequence. Closing the iterator ends the sequence at its next token."""
        sequence = Sequence(prompt, options, adapter, asyncio.get_running_loop())
        number = next(self._ids)
        with self._wake:
            self._arriving.append(sequence)
            self._wake.notify()
        finished = False
        try:
            while not finished:
                step = await sequence.steps.get()
                if isinstance(step, Exception):
                    raise step
                finished = step.finish_reason is not None
                yield step
        finally:
            sequence.cancelled = True
            if not finished:
                log.info("aborted sequence %d after %d tokens", number, len(sequence.tokens))

    # --- the engine's thread

    def _run(self) -> None:
        try:
            self._load()
        except BaseException:
            self.status = 503
            log.exception("the base model could not be loaded")
            self.ready.set()
            return
        self.status = 200
        self.ready.set()
        running: list[Sequence] = []
        while True:
            with self._wake:
                while not running and not self._arriving:
                    self._wake.wait()
                running += self._arriving
                self._arriving.clear()
            # Groups sequences by adapter, because switching takes milliseconds.
            running.sort(key=lambda sequence: sequence.adapter[0] if sequence.adapter else "")
            running = [sequence for sequence in running if not sequence.cancelled and self._advance(sequence)]

    def _load(self) -> None:
        import torch
        import transformers

        started = time.monotonic()
        base = self._base()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
        self._torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        # As in examples/evaluate.py: a CPU without bf16 instructions emulates them about 100 times slower.
        dtype = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
        self._model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
        longest = int(self._model.config.max_position_embeddings)
        self.max_length = min(self._max_length or longest, longest)
        self.defaults = self._model.generation_config.to_diff_dict()
        log.info("loaded %s in %.1f s", base, time.monotonic() - started)

    def _advance(self, sequence: Sequence) -> bool:
        """Appends one token; False once the sequence has ended."""
        try:
            step = self._next(sequence)
        except Exception as error:
            log.exception("a sequence failed")
            sequence.emit(error)
            return False
        sequence.emit(step)
        return step.finish_reason is None

    def _next(self, sequence: Sequence) -> Step:
        options = sequence.options
        self._use(sequence.adapter)
        if sequence.cache is None:
            import transformers

            sequence.cache = transformers.DynamicCache()
            sequence.sampler = Sampler(self._torch, options)
            sequence.decoder = Decoder(self.tokenizer, options.stop)
        assert sequence.sampler is not None and sequence.decoder is not None
        ids = sequence.tokens[-1:] or sequence.prompt
        with self._torch.inference_mode():
            logits = self._model(
                input_ids=self._torch.tensor([ids]),
                past_key_values=sequence.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[0, -1]
            token, logprobs = sequence.sampler.next(
                logits.float(), sequence.prompt, sequence.tokens, self._end_tokens()
            )
        sequence.tokens.append(token)
        if token in self._end_tokens() and not options.ignore_eos:
            return Step(sequence.decoder.rest(), token, logprobs, "stop")
        text, stop = sequence.decoder.add(token)
        if stop is not None:
            return Step(text, token, logprobs, "stop", stop)
        if len(sequence.tokens) >= options.max_tokens:
            return Step(text + sequence.decoder.rest(), token, logprobs, "length")
        return Step(text, token, logprobs, None)

    def _end_tokens(self) -> set[int]:
        ids = self._model.generation_config.eos_token_id
        return {*(ids if isinstance(ids, list) else [ids]), self.tokenizer.eos_token_id} - {None}

    def _use(self, adapter: tuple[str, Path] | None) -> None:
        """Switches the model to an adapter, or to none."""
        name = adapter[0] if adapter else None
        if adapter is not None:
            self._load_adapter(*adapter)
        if name == self._active or (name is None and not self._adapters):
            return
        if name is None:
            self._model.base_model.disable_adapter_layers()
        else:
            if self._active is None:
                self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(name)
        self._active = name

    def _load_adapter(self, name: str, directory: Path) -> None:
        if name in self._adapters:
            self._adapters.move_to_end(name)
            return
        import peft

        if not self._adapters:
            # low_cpu_mem_usage skips random initialization, which took longer than everything else.
            loaded = peft.PeftModel.from_pretrained(
                self._model, str(directory), adapter_name=name, low_cpu_mem_usage=True
            )
            self._model = loaded.eval()
            self._active = name
        else:
            if len(self._adapters) >= self._max_adapters:
                oldest = next(iter(self._adapters))
                del self._adapters[oldest]
                self._model.delete_adapter(oldest)
                self._active = "" if self._active == oldest else self._active
            self._model.load_adapter(str(directory), adapter_name=name, low_cpu_mem_usage=True)
            self._model.eval()
        self._adapters[name] = None
