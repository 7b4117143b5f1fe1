"""One side of a CPU bench: `python -m tunebase_trainer.bench.side ours|trl|matmul SPEC`; its last line is JSON.

It computes as the worker would: with `TUNEBASE_CPU_DTYPE=auto`, in fp32 on a CPU without bf16 instructions.
"""

from __future__ import annotations

import json
import math
import random
import resource
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

RANK, ALPHA, DROPOUT, RATE, LENGTH = 16, 32, 0.05, 5e-4, 1024
SEED = 42
PROGRESS = "step: "
"""Starts the lines about each step."""
MIXED_ROWS, MIXED_ROWS_FP32, MIXED_MEAN, MIXED_LONGEST = 128, 48, 40, 20 * 40


@dataclass(frozen=True)
class Workload:
    batch: int
    trl_accumulation: int
    """TRL's micro-batches per step: its users choose them so that the longest row fits."""
    epochs: int


UNIFORM, MIXED = Workload(4, 1, 1), Workload(16, 4, 2)
# In fp32 a step of `UNIFORM` took our loop two minutes on a busy machine with two cores and AVX2 only.
UNIFORM_FP32, MIXED_FP32 = Workload(2, 1, 1), Workload(16, 4, 1)


def mixed_lengths(count: int = MIXED_ROWS) -> list[int]:
    """Lognormal, with a fixed seed: the longest has 20 times the mean's tokens."""
    draw = random.Random(SEED)
    drawn = [draw.lognormvariate(0, 0.8) for _ in range(count - 1)]
    scale = (count * MIXED_MEAN - MIXED_LONGEST) / sum(drawn)
    lengths = [max(4, round(scale * length)) for length in drawn]
    return [*lengths[: count // 2], MIXED_LONGEST, *lengths[count // 2 :]]


def mixed_rows(rows: list[Any], count: int = MIXED_ROWS) -> list[Any]:
    """Rows of `mixed_lengths`, cut from the text of `rows`; the second half of each is learned."""
    from ..data.dataset import IGNORED, Row

    text = [token for row in rows for token in row.input_ids]
    made, at = [], 0
    for length in mixed_lengths(count):
        at = at if at + length <= len(text) else 0
        ids = text[at : at + length]
        made.append(Row(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
        at += length
    return made


def matmul() -> dict[str, Any]:
    """The best rate of a large matmul and of the model's own largest (2,048 tokens through up_proj), in FLOP/s."""
    from ..model.precision import compute_dtype

    dtype = compute_dtype()
    return {"flops": max(_matmul_rate(*shape, dtype, 3) for shape in ((2048, 2048, 2048), (2048, 576, 1536)))}


def _matmul_rate(m: int, k: int, n: int, dtype: Any, seconds: float) -> float:
    """The best FLOP/s of five at once, within `seconds`."""
    import torch

    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    best = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        for _ in range(5):
            a @ b
        best = max(best, 5 * 2 * m * k * n / (time.monotonic() - began))
    return best


def flops_per_token(net: Any, rows: list[Any]) -> float:
    """The fewest FLOPs of a token's forward and backward pass, with a frozen base.

    Two for each weight it meets forward, two for the gradient of its input; LoRA's own weights get a gradient too. The
    vocabulary is met by learned positions alone; attention looks half of the row back on average.
    """
    import torch

    config = net.config
    tokens = sum(len(row.input_ids) for row in rows)
    learned = sum(label >= 0 for row in rows for label in row.labels) / tokens
    linear = adapter = 0
    for name, module in net.named_modules():
        if name.endswith("base_layer"):
            linear += module.in_features * module.out_features
        elif isinstance(module, torch.nn.Linear) and "lora_" in name:
            adapter += module.weight.numel()
    back = sum(len(row.input_ids) ** 2 for row in rows) / tokens / 2
    attention = 2 * 2 * back * config.num_attention_heads * (config.hidden_size // config.num_attention_heads)
    vocabulary = config.vocab_size * config.hidden_size * learned
    return float(4 * linear + 6 * adapter + 3 * attention * config.num_hidden_layers + 4 * vocabulary)


class Clock:
    """Measures the time between logged steps."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self, loss: float) -> None:
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.losses.append(loss)
        self.last = now
        print(f"{PROGRESS}{len(self.seconds)}, {self.seconds[-1]:.1f} s, loss {loss:.3f}", flush=True)


def ours(
    net: Any, tokenizer: Any, rows: list[Any], workload: Workload, steps: int, directory: Path, clock: Clock
) -> float:
    from ..model.lora import add_lora
    from ..training.checkpoints import Plan
    from ..training.loop import train
    from ..training.schedule import CPU_MICRO_BATCH_TOKENS

    net, _ = add_lora(net, rank=RANK, alpha=ALPHA, dropout=DROPOUT)
    hyper = {
        "num_epochs": workload.epochs,
        "batch_size": workload.batch,
        "learning_rate": RATE,
        "lora_rank": RANK,
        "max_length": LENGTH,
        "lr_schedule": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "early_stopping_patience": 0,
        "seed": SEED,
    }
    plan = Plan(
        seconds=math.inf,
        stop_requested=lambda: False,
        deadline=math.inf,
        total_steps=steps * workload.epochs,
        eval_steps=None,
        total_tokens=sum(len(row.input_ids) for row in rows) * workload.epochs,
        run={},
        base=("", None),
        emit=lambda kind, **told: clock.step(told["training_loss"]) if kind == "step" else None,
    )
    train(
        net,
        tokenizer,
        rows,
        [],
        hyper,
        micro_batch_tokens=CPU_MICRO_BATCH_TOKENS,
        warmup_steps=0,
        on_gpu=False,
        plan=plan,
        directory=directory,
    )
    return flops_per_token(net, rows)


def trl(
    net: Any, tokenizer: Any, rows: list[Any], workload: Workload, steps: int, directory: Path, clock: Clock
) -> None:
    """As documented, with prepared tokens and labels, in the row order of our own loop.

    On a CPU without bf16 instructions, without autocast: the base is in fp32 already, and bf16 would be far slower.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from ..data.batches import LengthGroupedSampler
    from ..model.precision import compute_dtype
    from ..model.targets import DENSE

    class Listener(TrainerCallback):  # type: ignore[misc]  # untyped
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.last = time.monotonic()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                clock.step(float(logs["loss"]))

    class InOrder(SFTTrainer):  # type: ignore[misc]  # untyped
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    sampler, order = LengthGroupedSampler([len(row.input_ids) for row in rows], workload.batch, SEED), list[int]()
    for epoch in range(workload.epochs):
        sampler.set_epoch(epoch)
        order += sampler
    data = Dataset.from_list([{"input_ids": rows[n].input_ids, "labels": rows[n].labels} for n in order])
    loop = InOrder(
        model=net,
        args=SFTConfig(
            output_dir=str(directory),
            max_steps=steps * workload.epochs,
            per_device_train_batch_size=workload.batch // workload.trl_accumulation,
            gradient_accumulation_steps=workload.trl_accumulation,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=LENGTH,
            bf16=compute_dtype() == torch.bfloat16,
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            seed=SEED,
        ),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=DROPOUT,
            target_modules=[*DENSE.attention, *DENSE.mlp],
            task_type="CAUSAL_LM",
        ),
    )
    loop.add_callback(Listener())
    loop.train()


def main(name: str, spec_path: Path) -> dict[str, Any]:
    if name == "matmul":
        return matmul()
    import torch
    import transformers
    from transformers import AutoTokenizer

    from ..data import dataset
    from ..model import base_model
    from ..model.loading import load_quantized
    from ..model.precision import compute_dtype

    spec = json.loads(spec_path.read_text())
    directory = Path(spec["directory"])
    base = base_model.resolve(spec["model"])
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    rows: list[Any] = dataset.read(directory / "rows.jsonl", tokenizer, LENGTH).rows
    fp32 = compute_dtype() == torch.float32
    if spec.get("mixed"):
        workload = MIXED_FP32 if fp32 else MIXED
        rows = mixed_rows(rows, MIXED_ROWS_FP32 if fp32 else MIXED_ROWS)
    else:
        workload = UNIFORM_FP32 if fp32 else UNIFORM
        rows = rows[: workload.batch * spec["steps"]]
    planned = len(rows) // workload.batch
    transformers.set_seed(SEED)
    net, _ = load_quantized(base.path, None, partial(base.fetch_weights, print))
    clock = Clock()
    flops = None
    if name == "ours":
        flops = ours(net, tokenizer, rows, workload, planned, directory / name, clock)
    else:
        trl(net, tokenizer, rows, workload, planned, directory / name, clock)
    steps = planned * workload.epochs
    if len(clock.seconds) != steps:
        raise SystemExit(f"{name} made {len(clock.seconds)} steps instead of {steps}")
    return {
        "seconds": clock.seconds,
        "losses": clock.losses,
        "tokens": sum(row.tokens for row in rows) / planned,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "flops_per_token": flops,
        "steps_per_epoch": planned,
        "dtype": "fp32" if fp32 else "bf16",
    }


if __name__ == "__main__":
    measured = main(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps(measured))
