"""Peak memory and speed of a training step on one GPU, on random weights of true shapes.

Random weights measure memory and speed honestly: a random router sends tokens to all experts, the dense case. They say
nothing of a loss. Ceilings are arithmetic: what moving the experts' weights allows, whatever the tokens.
"""

from __future__ import annotations

import gc
import resource
import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, BitsAndBytesConfig, PreTrainedTokenizerFast, TrainerCallback

from ..data.dataset import IGNORED
from ..model.lora import add_lora
from ..model.quantization import Nf4Config
from ..model.targets import DENSE, fused_experts
from ..training.loss import supervised_loss
from . import random_weights
from .results import Measurement, evaluate, machine

GIB = 2**30
RANK = 16
STEPS = 3
"""Measured steps, after one warm-up step."""
CEILINGS = {
    "A100": {2048: 2140, 4096: 3010, 8192: 3790},
    "H200": {2048: 5880, 4096: 8620, 8192: 11250},
}
"""Tokens/s of Qwen3-Next-80B-A3B's shape by tokens per micro-batch, with all experts of a layer dequantized at once."""
TO_BEAT = 1800 / 3790
"""1,800 tokens/s on an A100, as a share of its ceiling at 8k tokens."""


@dataclass(frozen=True)
class Sizes:
    """What is measured: the two shapes, the tokens per row, and the rows per micro-batch."""

    moe: Any
    dense: Any
    row: int
    rows: tuple[int, ...] = (1, 2, 4)


def true_sizes() -> Sizes:
    """Qwen3-Next-80B-A3B is the default of its configuration class; Qwen3-8B as published."""
    dense = AutoConfig.for_model(
        "qwen3",
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=False,
    )
    return Sizes(AutoConfig.for_model("qwen3_next"), dense, 2048)


def tiny_sizes() -> Sizes:
    common = {"vocab_size": 256, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    linear = {f"linear_{part}_head_dim": 16 for part in ("key", "value")}
    moe = AutoConfig.for_model(
        "qwen3_next",
        num_hidden_layers=4,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        **common,
        **linear,
    )
    dense = AutoConfig.for_model("qwen3", intermediate_size=96, num_hidden_layers=2, **common)
    return Sizes(moe, dense, 16)


@dataclass(frozen=True)
class Speed:
    tokens_per_second: float
    peak: float
    """Peak memory in bytes; of the whole process if there is no GPU."""


def run(tiny: bool) -> list[Measurement]:
    """All measurements; prints a table on the way. `tiny`: shapes for any machine."""
    if not (tiny or torch.cuda.is_available()):
        raise SystemExit("There is no GPU here. `gpu --tiny` runs the same code on tiny shapes.")
    sizes = tiny_sizes() if tiny else true_sizes()
    torch.manual_seed(0)
    print(machine())
    found = moe(sizes)
    free()
    return found + against_trl(sizes)


# --- the mixture of experts


def moe(sizes: Sizes) -> list[Measurement]:
    peak_reset()
    began = time.monotonic()
    net = random_weights.load(sizes.moe, Nf4Config())
    layer = 2 * sum(shape.numel() for _, shape in fused_experts(net)) / sizes.moe.num_hidden_layers
    loading, loaded = peak(), size(net)
    print(f"built and quantized in {time.monotonic() - began:.0f} s: {loaded / GIB:.1f} GiB, peak {loading / GIB:.1f}")
    measurements = []
    if torch.cuda.is_available():
        limit = "what is loaded and one layer's experts"
        measurements.append(evaluate("gpu_load_peak", loading / GIB, "GiB", limit, (loaded + layer) / loading, 1.0))
    adapted, trainable = add_lora(net, RANK, 2 * RANK, 0.0)
    print(f"Qwen3-Next, {trainable:,} trainable\n{'tokens':>8} {'tokens/s':>10} {'peak GiB':>10} {'of ceiling':>11}")
    ceilings = next((table for name, table in CEILINGS.items() if name in machine()), {})
    for rows in sizes.rows:
        tokens = rows * sizes.row
        try:
            speed = measure(adapted, batch(sizes.moe.vocab_size, rows, sizes.row))
        except torch.OutOfMemoryError:
            print(f"{tokens:>8} {'out of memory':>21}")
            free()
            continue
        ceiling = ceilings.get(tokens)
        share = f"{speed.tokens_per_second / ceiling:.2f}" if ceiling else "unknown"
        print(f"{tokens:>8} {speed.tokens_per_second:>10.0f} {speed.peak / GIB:>10.1f} {share:>11}")
        measurements += evaluate_moe(tokens, speed, ceiling, last=rows == sizes.rows[-1])
    return measurements


def evaluate_moe(tokens: int, speed: Speed, ceiling: float | None, last: bool) -> list[Measurement]:
    """On a GPU: against its memory, and against its ceiling if that is known."""
    if not torch.cuda.is_available():
        return [evaluate("gpu_moe", speed.tokens_per_second, "tokens/s", f"nothing, {tokens} tokens on a CPU", 1, 0)]
    measurements = []
    if last:
        measurements.append(evaluate("gpu_moe_memory", speed.peak / GIB, "GiB", "48 GiB", 48 * GIB / speed.peak, 1.0))
    if ceiling:
        share = speed.tokens_per_second / ceiling
        against = f"the ceiling at {tokens} tokens, {ceiling:g}"
        measurements.append(evaluate("gpu_moe", speed.tokens_per_second, "tokens/s", against, share, 0.5))
        if last:
            against = f"1,800 on an A100, here {TO_BEAT * ceiling:.0f}"
            measurements.append(
                evaluate("gpu_moe_seed", speed.tokens_per_second, "tokens/s", against, share / TO_BEAT, 1.0)
            )
    return measurements


# --- a dense model, ours and plain TRL with bitsandbytes


def against_trl(sizes: Sizes) -> list[Measurement]:
    """Same shape, rows, micro-batch, rank, targets, dropout and checkpointing; one after the other."""
    rows = sizes.rows[-1]
    data = batch(sizes.dense.vocab_size, rows, sizes.row)
    adapted, _ = add_lora(random_weights.load(sizes.dense, Nf4Config()), RANK, 2 * RANK, 0.05)
    ours = measure(adapted, data)
    del adapted
    free()
    try:
        theirs = trl(sizes.dense, data)
    except ImportError as error:
        print(f"no comparison with TRL: {error}. Install requirements-dev.txt.")
        return []
    free()
    print(f"Qwen3's shape, {rows} × {sizes.row} tokens: {ours.tokens_per_second:.0f} tokens/s, "
          f"{ours.peak / GIB:.1f} GiB; TRL {theirs.tokens_per_second:.0f}, {theirs.peak / GIB:.1f}")  # fmt: skip
    ratio, against = ours.tokens_per_second / theirs.tokens_per_second, f"TRL's {theirs.tokens_per_second:.4g}"
    return [evaluate("gpu_dense", ours.tokens_per_second, "tokens/s", against, ratio, 1.3)]


def trl(config: Any, data: dict[str, torch.Tensor]) -> Speed:
    """The usual script: 4-bit base, LoRA on the seven projections, SFTTrainer's defaults except what must be equal."""
    import pyarrow
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from trl import SFTConfig, SFTTrainer

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    net = random_weights.load(config, quantization)
    rows, row = data["input_ids"].shape
    copies = [{name: data[name][i % rows].tolist() for name in ("input_ids", "labels")} for i in range(rows * 8)]
    words = Tokenizer(models.WordLevel({str(i): i for i in range(4)}, unk_token="0"))  # noqa: S106 (a token)
    watch = _Watch()
    trainer = SFTTrainer(
        model=net,
        args=SFTConfig(
            output_dir="unused",
            max_length=row,
            dataset_kwargs={"skip_prepare_dataset": True},  # they are ready
            per_device_train_batch_size=rows,
            max_steps=1 + STEPS,
            learning_rate=1e-4,
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        # Its fingerprint given: datasets 5.2 cannot pickle what it would make one of.
        train_dataset=Dataset(pyarrow.Table.from_pylist(copies), fingerprint="bench"),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="1", eos_token="2"),  # noqa: S106
        peft_config=LoraConfig(
            r=RANK,
            lora_alpha=2 * RANK,
            lora_dropout=0.05,
            target_modules=[*DENSE.attention, *DENSE.mlp],
            task_type="CAUSAL_LM",
        ),
        callbacks=[watch],
    )
    trainer.train()
    return Speed(rows * row * STEPS / (watch.ends[STEPS] - watch.ends[0]), peak())


class _Watch(TrainerCallback):  # type: ignore[misc]  # untyped
    """Records when each step ended; the memory peak excludes the first step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.ends:
            peak_reset()
        wait()
        self.ends.append(time.monotonic())


# --- measuring


def batch(vocabulary: int, rows: int, row: int) -> dict[str, torch.Tensor]:
    """Random ids; the second half of each row is learned."""
    ids = torch.randint(4, vocabulary, (rows, row))
    labels = ids.clone()
    labels[:, : row // 2] = IGNORED
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"input_ids": ids.to(device), "labels": labels.to(device)}


def measure(net: Any, data: dict[str, torch.Tensor]) -> Speed:
    """Forward, backward and optimizer step of one micro-batch."""
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    device = data["input_ids"].device.type
    net.train()

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = supervised_loss(net, data, None)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        if not loss.isfinite():
            raise RuntimeError("the loss is not a number: what was measured is no training")

    step()
    peak_reset()
    wait()
    began = time.monotonic()
    for _ in range(STEPS):
        step()
    wait()
    return Speed(data["input_ids"].numel() * STEPS / (time.monotonic() - began), peak())


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_reset() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def size(net: Any) -> float:
    """Bytes of everything that a model keeps on the GPU; on a CPU, of its state dict."""
    if torch.cuda.is_available():
        return float(torch.cuda.memory_allocated())
    return float(sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values()))


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
