"""Trains one LoRA adapter, from a specification to files. handler.py runs it as a separate process.

    python train_lora.py SPEC.json

tunebase_trainer/worker/process.py documents SPEC, the events (written to the file descriptor TUNEBASE_EVENTS_FD, or to
stdout if it is not set) and the signals. This process gets no secret and no callback URL.

`main` reads from top to bottom: data, base model, adapter, derived values, training, evaluation, artifact.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import distributed
from tunebase_trainer.parent_death import set_parent_death_signal
from tunebase_trainer.training.events import EventStream

if TYPE_CHECKING:
    from tunebase_trainer.data.dataset import Dataset
    from tunebase_trainer.export.run_summary import RunSummary
    from tunebase_trainer.model.base_model import BaseModel
    from tunebase_trainer.training.loop import Checkpoint
    from tunebase_trainer.training.preflight import Placement
    from tunebase_trainer.training.schedule import Schedule

STARTED = time.monotonic()

# ---------------------------------------------------------------------------------------------------------------------
# Events and signals

# Opened before the slow imports, so that a watcher sees the process start.
EVENTS = EventStream()
emit, emit_stage, emit_log = EVENTS.emit, EVENTS.emit_stage, EVENTS.emit_log

STOP = threading.Event()


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
    placement = check_resources(spec, hyper, base, data)
    sharded = placement.sharded

    # --- base model: NF4 with double quantization, or unquantized; it computes in bf16
    emit_stage("loading_model", 6)
    base_net = load_base_model(base, hyper, sharded)

    # --- adapter
    emit_stage("configuring", 10)
    net, trainable = add_adapter(base_net, spec, hyper, sharded)

    # --- derived values, printed before the first step
    from tunebase_trainer.training.preference import apply_default_beta
    from tunebase_trainer.training.schedule import describe_run, make_schedule, run_identity

    apply_default_beta(hyper)
    schedule = make_schedule(
        hyper, data, validation,
        spec.get("micro_batch_tokens") or placement.micro_batch_tokens,  # fewer after running out of memory
    )  # fmt: skip
    emit_log(describe_run(hyper, data, schedule, trainable))

    # --- training, from a checkpoint if there is one
    identity = run_identity(hyper, data, schedule)
    resume = load_resume(spec, identity)
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
        result = run_training(
            net, tokenizer, data, validation, spec, hyper, schedule, identity, base, metrics_log, resume
        )
    except Stopped as stopped:
        emit("stopped", step=stopped.step, out_of_time=stopped.out_of_time)
        return
    if (peak := peak_memory()) is not None:
        emit_log(peak)

    # --- evaluation: the base model and the fine-tuned one on the same rows
    emit_stage("evaluating", 92)
    from tunebase_trainer.evaluation import at_end

    seconds_left = STARTED + spec["seconds"] - time.monotonic() if spec.get("seconds") is not None else math.inf
    evaluator = at_end.measure_losses(
        net, tokenizer, data, validation,
        seed=hyper["seed"], micro_batch_tokens=schedule.micro_batch_tokens, steps=metrics_log.steps,
        seconds_left=seconds_left, stop_requested=STOP.is_set, emit_log=emit_log,
    )  # fmt: skip
    distributed.shutdown()
    if distributed.rank() > 0:
        return
    prompts_from = Path(spec["validation"] or spec["dataset"])
    evaluation, samples = at_end.compare_answers(evaluator, prompts_from, sharded, emit_log)

    # --- artifact: the files that stock PEFT loads, and those for people
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
        base_on_gpus=distributed.world_size() if sharded else 1,
    )
    output = Path(spec["output"])
    write_artifact(output, net, tokenizer, summary, samples)
    if exports := hyper.get("export", []):
        from tunebase_trainer.export import merged

        del net, base_net, evaluator  # merging needs the memory
        if problem := merged.write(output, partial(base.fetch_weights, emit_log), output, tokenizer, exports):
            emit_log(problem, "warn")
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
        quantization=hyper["quantization"],
        base_sharded=sharded,
        evaluation=evaluation.model_dump() if evaluation is not None else None,
    )


def read_data(spec: dict[str, Any], hyper: dict[str, Any], base: BaseModel) -> tuple[Any, Dataset, Dataset | None]:
    """The tokenizer, the rows to train on, and those to validate with."""
    from transformers import AutoTokenizer

    from tunebase_trainer.data.training_data import read_training_data

    tokenizer = AutoTokenizer.from_pretrained(base.path)
    return tokenizer, *read_training_data(spec, hyper, tokenizer, emit_log)


def check_resources(spec: dict[str, Any], hyper: dict[str, Any], base: BaseModel, data: Dataset) -> Placement:
    """How to load the base model. Raises TrainerError if the run cannot fit.

    Resolves `quantization` in `hyper`; a resumed run keeps its checkpoint's.
    """
    from tunebase_trainer.training.checkpoint_state import saved_hyperparameter
    from tunebase_trainer.training.preflight import check_gpu, run_preflight

    if hyper.setdefault("quantization", "auto") == "auto" and spec["resume"] is not None:
        hyper["quantization"] = saved_hyperparameter(Path(spec["resume"]), "quantization") or "auto"
    check_gpu(
        spec.get("num_gpus", 1), spec.get("requires_gpu", False)
    )  # first, because a rank without a GPU cannot join
    distributed.init()
    placement = run_preflight(
        base.path,
        hyper,
        max(row.length for row in data.rows),
        Path(spec["output"]),
        spec.get("num_gpus", 1),
        len(data.rows[0].sequences),
    )
    hyper["quantization"] = placement.quantization
    return placement


def load_base_model(base: BaseModel, hyper: dict[str, Any], sharded: bool) -> Any:
    import transformers

    from tunebase_trainer.model import loading

    transformers.set_seed(hyper["seed"])
    fetch_weights, was_cached = partial(base.fetch_weights, emit_log), False
    if hyper["quantization"] == "none":
        load = loading.load_unquantized_sharded if sharded else loading.load_unquantized
        net = load(base.path, fetch_weights)
        emit_log("The base model is not quantized.")
    else:
        load_nf4 = loading.load_quantized_sharded if sharded else loading.load_quantized
        net, was_cached = load_nf4(base.path, base.revision, fetch_weights)
        emit_log("The base model is quantized to NF4.")
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
        # Preference pairs are trained without dropout: the reference has none, and noise would count as a preference.
        dropout=0.0 if hyper.get("method") == "dpo" else hyper["lora_dropout"],
        lora_targets=hyper.get("lora_targets", "all-linear"),
        rslora=hyper["use_rslora"],
        checkpointing=sharded,
        variant=hyper.get("lora_variant", "lora"),
        weight_decay=hyper["weight_decay"],
    )
    if sharded:
        distributed.exclude_frozen_from_ddp(net)
    if spec.get("start_from") is not None:
        lora.load_earlier_adapter(net, Path(spec["start_from"]))
        emit_log("Training starts from the earlier fine-tune's adapter.")
    return net, trainable


def load_resume(spec: dict[str, Any], identity: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint of an earlier worker, if it belongs to exactly this run."""
    from tunebase_trainer.training.checkpoint_state import IncompatibleCheckpoint, load_state

    if spec["resume"] is None:
        return None
    directory = Path(spec["resume"])
    try:
        state = load_state(directory, identity)
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
    schedule: Schedule,
    identity: dict[str, Any],
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
        total_steps=schedule.total_steps,
        eval_steps=schedule.eval_steps,
        total_tokens=data.tokens * hyper["num_epochs"],
        run=identity,
        base=(hyper["base_model"], base.revision),
        emit=metrics_log.emit,
    )
    return train(
        net,
        tokenizer,
        data.rows,
        validation.rows if validation else [],
        hyper,
        micro_batch_tokens=schedule.micro_batch_tokens,
        warmup_steps=schedule.warmup_steps,
        on_gpu=on_gpu,
        plan=plan,
        directory=Path(spec["checkpoints"]),
        resume=resume,
        # Not on a CPU, where the kernel kills a process that uses too much memory.
        probe_largest=on_gpu,
        packing=on_gpu and os.environ.get("TUNEBASE_PACKING") == "1",
    )


def write_artifact(output: Path, net: Any, tokenizer: Any, summary: RunSummary, samples: dict[str, Any] | None) -> None:
    """The adapter, its tokenizer, model card and loss curve, and sample answers."""
    from tunebase_trainer.export import artifact
    from tunebase_trainer.model import lora

    lora.save_adapter(net, output, summary.base_model, summary.base_revision)
    artifact.write(output, tokenizer, summary)
    if samples is not None:
        artifact.write_samples(output, **samples)


# ---------------------------------------------------------------------------------------------------------------------
# Process


if __name__ == "__main__":
    # In its own process group, it would otherwise outlive a killed worker and keep using its GPU.
    set_parent_death_signal()
    signal.signal(signal.SIGTERM, handle_sigterm)
    try:
        if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
            sys.exit(__doc__)
        processes = json.loads(Path(sys.argv[1]).read_text()).get("num_gpus", 1)
        if processes > 1 and not distributed.is_distributed():
            sys.exit(distributed.launch(__file__, sys.argv[1], processes, EVENTS.fileno(), emit_log))
        main(sys.argv[1])
    except distributed.RestartNeeded as restart:
        distributed.request_restart(sys.argv[1], restart)
        EVENTS.flush()
        os._exit(5)  # shutting down NCCL could deadlock with ranks that wait for this one
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
    # Tearing down CUDA takes seconds, during which a SIGTERM would change the exit status.
    EVENTS.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
