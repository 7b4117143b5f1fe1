"""Trains one LoRA adapter, from a specification to files. handler.py runs it as a separate process.

    python train_lora.py SPEC.json

What SPEC contains, which events go to the file descriptor TUNEBASE_EVENTS_FD (stdout without it), and what signals mean
is in tunebase_trainer/worker/process.py. This process gets no secret and no callback URL.

`main` reads from top to bottom: data, base model, adapter, derived values, training, evaluation, artifact.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import distributed
from tunebase_trainer.text import counted

if TYPE_CHECKING:
    from tunebase_trainer.contract import Evaluation
    from tunebase_trainer.data.dataset import Dataset
    from tunebase_trainer.evaluation.evaluator import Evaluator
    from tunebase_trainer.export.run_summary import RunSummary
    from tunebase_trainer.model.base_model import BaseModel
    from tunebase_trainer.training.loop import Checkpoint

STARTED = time.monotonic()
# Micro-batches of a CPU hold at most this many tokens.
CPU_MICRO_BATCH_TOKENS = 4096

# ---------------------------------------------------------------------------------------------------------------------
# Events and signals

# Opened before the slow imports, so that a watcher sees the process start.
if "TUNEBASE_EVENTS_PATH" in os.environ:  # one of several processes, see distributed.py
    EVENTS = Path(os.environ["TUNEBASE_EVENTS_PATH"]).open("w", buffering=1)
else:
    EVENTS = os.fdopen(int(os.environ.get("TUNEBASE_EVENTS_FD", "1")), "w", buffering=1)

STOP = threading.Event()


def emit(kind: str, **fields: Any) -> None:
    """Writes one event, on rank 0; errors on any rank. JSON has no NaN: such a number becomes null."""
    if distributed.rank() > 0 and kind != "error":
        return
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
    EVENTS.write(json.dumps({"type": kind, **clean}, allow_nan=False) + "\n")


def emit_stage(name: str, progress: float) -> None:
    emit("stage", stage=name, progress=progress)


def emit_log(message: str, level: str = "info") -> None:
    emit("log", level=level, message=message)


def handle_sigterm(number: int, frame: FrameType | None) -> None:
    """The training checks STOP at the end of each step."""
    STOP.set()


# ---------------------------------------------------------------------------------------------------------------------
# Stages


def main(spec_path: str) -> None:
    spec = json.loads(Path(spec_path).read_text())
    hyper: dict[str, Any] = spec["hyperparameters"]
    distributed.check_batch_size(hyper["batch_size"], distributed.world_size())

    # --- data: read before anything heavy is loaded
    emit_stage("preparing", 3)
    from tunebase_trainer.model import base_model

    base = base_model.resolve(hyper["base_model"], hyper["base_revision"])
    tokenizer, data, validation = read_data(spec, hyper, base)
    sharded = check_resources(spec, hyper, base, data)

    # --- base model: NF4 with double quantization, computing in bf16
    emit_stage("loading_model", 6)
    base_net = load_base_model(base, hyper["seed"], sharded)

    # --- adapter
    emit_stage("configuring", 10)
    net, trainable = add_adapter(base_net, spec, hyper, sharded)

    # --- derived values, printed before the first step
    apply_method_defaults(hyper)
    plan = derive(hyper, data)
    emit_log(describe_run(hyper, data, plan, trainable))

    # --- training, from a checkpoint if there is one
    resume = load_resume(spec, hyper, data, plan)
    emit_stage("training", 10)
    if distributed.any_rank(STOP.is_set()):
        emit("stopped", step=resume[1].step if resume else 0, out_of_time=False)
        return
    from tunebase_trainer import kernels
    from tunebase_trainer.training.checkpoints import Stopped
    from tunebase_trainer.training.gpu_memory import peak_memory
    from tunebase_trainer.training.metrics_log import MetricsLog

    metrics_log = MetricsLog(emit, resume[0] if resume else None)
    emit_log(f"Kernels: {kernels.describe()}.")
    try:
        result = run_training(net, tokenizer, data, validation, spec, hyper, plan, base, metrics_log, resume)
    except Stopped as stopped:
        emit("stopped", step=stopped.step, out_of_time=stopped.out_of_time)
        return
    if (peak := peak_memory()) is not None:
        emit_log(peak)

    # --- evaluation: the base model and the fine-tuned one on the same rows
    emit_stage("evaluating", 92)
    evaluator = measure_losses(net, tokenizer, data, validation, hyper, plan, metrics_log.steps, spec)
    distributed.shutdown()
    if distributed.rank() > 0:
        return
    evaluation, samples = finish_evaluation(evaluator, spec, sharded)

    # --- artifact: what stock PEFT loads, and what a person reads
    emit_stage("saving", 93)
    from tunebase_trainer.export.run_summary import RunSummary
    from tunebase_trainer.versions import library_versions

    summary = RunSummary(
        base_model=hyper["base_model"],
        base_revision=base.revision,
        hyperparameters=hyper,
        data=data,
        validation=validation,
        steps=metrics_log.steps,
        trained_tokens=result.trained_tokens,
        trainable_parameters=trainable,
        versions=library_versions(),
        evaluation=evaluation,
    )
    output = Path(spec["output"])
    write_artifact(output, net, tokenizer, summary, samples)
    if exports := hyper.get("export", []):
        del net, base_net, evaluator  # merging needs the memory
        write_exports(output, base, tokenizer, exports)
    emit(
        "result",
        base_model=hyper["base_model"],
        base_revision=base.revision,
        rows=len(data.rows),
        validation_rows=len(validation.rows) if validation else 0,
        steps=result.steps,
        first_loss=result.first_loss,
        last_loss=result.last_loss,
        best_step=result.best_step,
        best_validation_loss=result.best_validation_loss,
        trained_tokens=result.trained_tokens,
        trainable_parameters=trainable,
        versions=summary.versions,
        chat_template_sha256=data.template_sha256,
        evaluation=evaluation.model_dump() if evaluation is not None else None,
    )


def read_data(spec: dict[str, Any], hyper: dict[str, Any], base: BaseModel) -> tuple[Any, Dataset, Dataset | None]:
    """The tokenizer, the rows to train on, and those to validate with."""
    from transformers import AutoTokenizer

    from tunebase_trainer.data import dataset
    from tunebase_trainer.data.split import split

    tokenizer = AutoTokenizer.from_pretrained(base.path)
    max_length, method = hyper["max_length"], hyper.get("method", "supervised")
    data = dataset.read(Path(spec["dataset"]), tokenizer, max_length, method=method)
    validation: Dataset | None
    if spec["validation"]:
        validation = dataset.read(Path(spec["validation"]), tokenizer, max_length, "The validation data", method)
    else:
        data, validation = split(data, hyper["validation_split"], hyper["seed"])
        if validation:
            held_out, total = validation.conversations, data.conversations + validation.conversations
            emit_log(f"{held_out} of {counted(total, 'row')} held out for validation (validation_split).")
    for prefix, rows in (("", data), ("Validation: ", validation)):
        for warning in rows.warnings(max_length) if rows else []:
            emit_log(prefix + warning, "warn")
    return tokenizer, data, validation


def check_resources(spec: dict[str, Any], hyper: dict[str, Any], base: BaseModel, data: Dataset) -> bool:
    """Whether the base model must be sharded; raises TrainerError when the run cannot fit."""
    from tunebase_trainer.training.preflight import check_gpu, run_preflight

    check_gpu(spec.get("num_gpus", 1), spec.get("requires_gpu", False))  # first: a rank without a GPU cannot join
    distributed.init()
    return run_preflight(
        base.path,
        hyper,
        max(row.length for row in data.rows),
        Path(spec["output"]),
        spec.get("num_gpus", 1),
        len(data.rows[0].sequences),
    )


def load_base_model(base: BaseModel, seed: int, sharded: bool) -> Any:
    import transformers

    from tunebase_trainer.model import loading

    transformers.set_seed(seed)
    load = loading.load_sharded if sharded else loading.load_quantized
    net, was_cached = load(base.path, base.revision, partial(base.fetch_weights, emit_log))
    if was_cached:
        emit_log("The base model was loaded in quantized form from the volume's cache.")
    if sharded:
        emit_log(f"The base model is sharded over {distributed.world_size()} GPUs: each keeps a part of every layer.")
    return net


def add_adapter(base_net: Any, spec: dict[str, Any], hyper: dict[str, Any], sharded: bool) -> tuple[Any, int]:
    """The network with LoRA, and the number of trainable parameters."""
    from tunebase_trainer.model import lora

    net, trainable = lora.add_lora(
        base_net,
        rank=hyper["lora_rank"],
        alpha=hyper["lora_alpha"],
        dropout=hyper["lora_dropout"],
        lora_targets=hyper.get("lora_targets", "all-linear"),
        rslora=hyper["use_rslora"],
        checkpointing=sharded,
    )
    if sharded:
        from tunebase_trainer.model.sharded_base import exclude_from_ddp

        exclude_from_ddp(net)
    if spec.get("start_from") is not None:
        lora.load_earlier_adapter(net, Path(spec["start_from"]))
        emit_log("Training starts from the earlier fine-tune's adapter.")
    return net, trainable


@dataclass(frozen=True)
class Derived:
    """What follows from the hyperparameters and the data."""

    micro_batch_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int


def apply_method_defaults(hyper: dict[str, Any]) -> None:
    from tunebase_trainer.training.preference import DEFAULT_BETA

    if hyper.get("method") == "dpo":
        hyper["beta"] = hyper.get("beta") or DEFAULT_BETA


def derive(hyper: dict[str, Any], data: Dataset) -> Derived:
    import torch

    from tunebase_trainer.contract import MICRO_BATCH_TOKENS
    from tunebase_trainer.data.batches import choose_micro_batch_size

    tokens_per_example = max(row.length for row in data.rows) * len(data.rows[0].sequences)
    steps_per_epoch = math.ceil(len(data.rows) / hyper["batch_size"])
    total_steps = steps_per_epoch * hyper["num_epochs"]
    warmup_steps = hyper["warmup_steps"]
    if warmup_steps is None:
        warmup_steps = math.ceil(total_steps * hyper["warmup_ratio"])
    return Derived(
        micro_batch_size=choose_micro_batch_size(
            hyper["batch_size"] // distributed.world_size(),
            tokens_per_example,
            MICRO_BATCH_TOKENS if torch.cuda.is_available() else CPU_MICRO_BATCH_TOKENS,
        ),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
    )


def describe_run(hyper: dict[str, Any], data: Dataset, plan: Derived, trainable: int) -> str:
    method = f"Method dpo, beta {hyper['beta']:g}; " if hyper.get("method") == "dpo" else ""
    on_each = f" on each of {distributed.world_size()} GPUs" if distributed.is_distributed() else ""
    epochs, steps = counted(hyper["num_epochs"], "epoch"), counted(plan.steps_per_epoch, "step")
    return (
        f"{method}{data.describe()}; {epochs} of {steps} "
        f"with batch_size {hyper['batch_size']} (micro-batch {plan.micro_batch_size}{on_each}); "
        f"{trainable:,} trainable parameters; learning rate {hyper['learning_rate']:g} after "
        f"{counted(plan.warmup_steps, 'warmup step')}, then {hyper['lr_schedule']} to 0."
    )


def run_identity(hyper: dict[str, Any], data: Dataset, plan: Derived) -> dict[str, Any]:
    """What must be unchanged for a checkpoint to be usable."""
    from tunebase_trainer.versions import library_versions

    versions = library_versions()
    return {
        "hyperparameters": hyper,
        "rows": len(data.rows),
        "steps": plan.total_steps,
        "gpus": distributed.world_size(),
        "versions": {name: versions[name] for name in ("transformers", "peft")},
    }


def load_resume(spec: dict[str, Any], hyper: dict[str, Any], data: Dataset, plan: Derived) -> Checkpoint | None:
    """The checkpoint of an earlier worker, if it belongs to exactly this run."""
    from tunebase_trainer.training.checkpoint_state import IncompatibleCheckpoint, load_state

    if spec["resume"] is None:
        return None
    directory = Path(spec["resume"])
    try:
        state = load_state(directory, run_identity(hyper, data, plan))
    except IncompatibleCheckpoint as reason:
        emit_log(f"Cannot resume from the checkpoint ({reason}). Training starts over.", "warn")
        return None
    emit("resumed", step=state.step, epoch=state.epoch, trained_tokens=state.trained_tokens)
    emit_log(f"Resuming from the checkpoint of step {state.step}.")
    return directory, state


def run_training(
    net: Any,
    tokenizer: Any,
    data: Dataset,
    validation: Dataset | None,
    spec: dict[str, Any],
    hyper: dict[str, Any],
    derived: Derived,
    base: BaseModel,
    metrics_log: Any,
    resume: Checkpoint | None,
) -> Any:
    """Returns a TrainingResult. Raises Stopped and TrainerError."""
    import torch

    from tunebase_trainer.training.checkpoints import Plan
    from tunebase_trainer.training.loop import train

    on_gpu = torch.cuda.is_available()
    plan = Plan(
        seconds=spec["checkpoint_seconds"] or math.inf,
        stop_requested=STOP.is_set,
        deadline=STARTED + spec["seconds"] if spec.get("seconds") is not None else math.inf,
        total_steps=derived.total_steps,
        steps_per_epoch=derived.steps_per_epoch,
        total_tokens=data.tokens * hyper["num_epochs"],
        run=run_identity(hyper, data, derived),
        base=(hyper["base_model"], base.revision),
        emit=metrics_log.emit,
    )
    return train(
        net,
        tokenizer,
        data.rows,
        validation.rows if validation else [],
        hyper,
        micro_batch_size=derived.micro_batch_size,
        warmup_steps=derived.warmup_steps,
        on_gpu=on_gpu,
        plan=plan,
        directory=Path(spec["checkpoints"]),
        resume=resume,
        # On a CPU it costs more than it is worth: there the kernel kills a process that uses too much memory.
        probe_longest=on_gpu and not distributed.is_distributed(),
    )


def measure_losses(
    net: Any,
    tokenizer: Any,
    data: Dataset,
    validation: Dataset | None,
    hyper: dict[str, Any],
    derived: Derived,
    steps: list[dict[str, Any]],
    spec: dict[str, Any],
) -> Evaluator | None:
    """The first part of the evaluation, which all ranks share. None: the operator has disabled it, or it failed."""
    import torch

    from tunebase_trainer.evaluation.evaluator import Evaluator, choose_rows, time_budget
    from tunebase_trainer.training.loop import padding_token

    seconds_left = STARTED + spec["seconds"] - time.monotonic() if spec.get("seconds") is not None else math.inf
    try:
        seconds = time_budget(torch.cuda.is_available(), steps, seconds_left)
        if seconds == 0:
            return None
        chosen = choose_rows(data, validation, hyper["seed"])
        evaluator = Evaluator(net, tokenizer, chosen, seconds, STOP.is_set)
        evaluator.measure_losses(derived.micro_batch_size, padding_token(tokenizer))
    except Exception as error:
        if distributed.is_distributed():  # the other ranks wait for this one
            raise
        traceback.print_exc()
        emit_log(f"The evaluation failed ({type(error).__name__}).", "warn")
        return None
    return evaluator


def finish_evaluation(
    evaluator: Evaluator | None, spec: dict[str, Any], sharded: bool
) -> tuple[Evaluation | None, dict[str, Any] | None]:
    """Generates answers; returns the figures, and the content of samples.json."""
    from tunebase_trainer.data.dataset import read_prompts
    from tunebase_trainer.evaluation.evaluator import describe, sample_limit

    if evaluator is None:
        return None, None
    count = 0
    if sharded:
        emit_log("No answers are generated: the base model is sharded, and no GPU has all of it.", "warn")
    else:
        try:
            count = sample_limit()
            if count > 0:
                source = spec[
                    "dataset" if evaluator.chosen.source == "training" or not spec["validation"] else "validation"
                ]
                evaluator.compare_answers(read_prompts(Path(source), evaluator.tokenizer, evaluator.chosen.rows), count)
        except Exception as error:  # the adapter is worth more than these
            traceback.print_exc()
            emit_log(f"The answers could not be generated ({type(error).__name__}).", "warn")
    evaluation = evaluator.evaluation()
    if evaluation is not None:
        emit_log(describe(evaluation))
    samples = evaluator.samples(count)
    return evaluation, {"samples": samples, "source": evaluator.chosen.source} if samples else None


def write_artifact(output: Path, net: Any, tokenizer: Any, summary: RunSummary, samples: dict[str, Any] | None) -> None:
    """The adapter, its tokenizer, model card and loss curve, and sample answers."""
    from tunebase_trainer.export import artifact
    from tunebase_trainer.model import lora

    lora.save_adapter(net, output, summary.base_model, summary.base_revision)
    artifact.write(output, tokenizer, summary)
    if samples is not None:
        artifact.write_samples(output, **samples)


def write_exports(output: Path, base: BaseModel, tokenizer: Any, exports: list[str]) -> None:
    from tunebase_trainer.export import merged

    if problem := merged.write(output, base.fetch_weights(emit_log), output, tokenizer, exports):
        emit_log(problem, "warn")


# ---------------------------------------------------------------------------------------------------------------------
# Process


def set_parent_death_signal() -> None:
    """A killed worker takes its training along: in its own process group it would keep using the GPU, unnoticed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    set_parent_death_signal()
    signal.signal(signal.SIGTERM, handle_sigterm)
    try:
        if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
            sys.exit(__doc__)
        processes = json.loads(Path(sys.argv[1]).read_text()).get("num_gpus", 1)
        if processes > 1 and not distributed.is_distributed():
            sys.exit(distributed.launch(__file__, sys.argv[1], processes, EVENTS.fileno()))
        main(sys.argv[1])
    except TrainerError as error:
        if distributed.claim_first_failure(sys.argv[1]):
            emit("error", code=error.code, message=error.message, hint=error.hint)
        sys.exit(3)
    except Exception as error:
        traceback.print_exc()
        from tunebase_trainer.worker.error_mapping import to_trainer_error

        known = to_trainer_error(error)
        if distributed.claim_first_failure(sys.argv[1]):
            emit("error", code=known.code, message=known.message, hint=known.hint)
        sys.exit(4)
    finally:
        print(f"train_lora.py ran for {time.monotonic() - STARTED:.1f} s", file=sys.stderr)
    # Tearing down CUDA takes seconds, in which a SIGTERM would end this process with another status.
    EVENTS.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
