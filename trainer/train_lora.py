"""Trains one LoRA adapter, from a specification to files: run as a process of its own by handler.py.

    python train_lora.py SPEC.json

What SPEC holds, what is told on the file descriptor TUNEBASE_EVENTS_FD (stdout without it), and what signals mean is in
tunebase_trainer/process.py. It knows no secret and no address.

The loss is our own: only positions whose next token is learned go through the vocabulary's projection, as one batch
labels few of its tokens. Measured on 2 cores: two to three times as fast as projecting and scoring every position.
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
from pathlib import Path
from types import FrameType
from typing import Any

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import distributed

STARTED = time.monotonic()
# Told before the slow imports, so that a watcher sees life.
if "TUNEBASE_EVENTS_PATH" in os.environ:  # one of several processes, see ranks.py
    EVENTS = Path(os.environ["TUNEBASE_EVENTS_PATH"]).open("w", buffering=1)
else:
    EVENTS = os.fdopen(int(os.environ.get("TUNEBASE_EVENTS_FD", "1")), "w", buffering=1)


def emit(kind: str, **fields: Any) -> None:
    """Writes one event, where this is the process that tells. JSON has no NaN: such a number becomes null."""
    if distributed.rank() > 0 and kind != "error":
        return
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
    EVENTS.write(json.dumps({"type": kind, **clean}, allow_nan=False) + "\n")


def emit_stage(name: str, progress: float) -> None:
    emit("stage", stage=name, progress=progress)


def emit_log(message: str, level: str = "info") -> None:
    emit("log", level=level, message=message)


STOP = threading.Event()


def handle_sigterm(number: int, frame: FrameType | None) -> None:
    """SIGTERM's handler: the next step's end looks at it."""
    STOP.set()


def main(spec_path: str) -> None:
    spec = json.loads(Path(spec_path).read_text())
    hyper: dict[str, Any] = spec["hyperparameters"]
    output = Path(spec["output"])
    distributed.check_batch_size(hyper["batch_size"], distributed.world_size())

    # --- the base model's files and the rows, before anything heavy is loaded
    emit_stage("preparing", 3)
    from tunebase_trainer.model import base_model
    from tunebase_trainer.versions import made_with

    base = base_model.resolve(hyper["base_model"], hyper["base_revision"])
    import torch
    import transformers
    from transformers import AutoTokenizer

    from tunebase_trainer.data import dataset
    from tunebase_trainer.data.split import split
    from tunebase_trainer.training import preference, preflight

    tokenizer = AutoTokenizer.from_pretrained(base.path)
    method = hyper.get("method", "supervised")
    if method == "dpo":
        hyper["beta"] = hyper.get("beta") or preference.BETA
    data = dataset.read(Path(spec["dataset"]), tokenizer, hyper["max_length"], method=method)
    validation: dataset.Dataset | None
    if spec["validation"]:
        validation = dataset.read(
            Path(spec["validation"]), tokenizer, hyper["max_length"], "The validation data", method
        )
    else:
        data, validation = split(data, hyper["validation_split"], hyper["seed"])
        if validation:
            held, rows = validation.conversations, data.conversations
            emit_log(f"{held} of {held + rows} rows are held out to validate with (validation_split).")
    for name, read in (("", data), ("Validation: ", validation)):
        for warning in read.warnings(hyper["max_length"]) if read else []:
            emit_log(name + warning, "warn")

    longest, together = max(row.length for row in data.rows), len(data.rows[0].sequences)
    distributed.init()
    shared = preflight.run_preflight(base.path, hyper, longest, output, spec.get("num_gpus", 1), together)

    # --- the model in NF4 with double quantization, computing in bf16
    emit_stage("loading_model", 6)
    from tunebase_trainer.model import loading, lora

    transformers.set_seed(hyper["seed"])
    load = loading.load_sharded if shared else loading.load_quantized
    base_net, was_kept = load(base.path, base.revision)
    if was_kept:
        emit_log("The base model was read from the volume as an earlier start had quantized it.")
    if shared:
        emit_log(f"The base model is shared by {distributed.world_size()} GPUs: each has a part of every layer.")

    # --- the adapter, and the values that follow from it
    emit_stage("configuring", 10)
    net, trainable = lora.add_lora(
        base_net,
        rank=hyper["lora_rank"],
        alpha=hyper["lora_alpha"],
        dropout=hyper["lora_dropout"],
        lora_targets=hyper.get("lora_targets", "all-linear"),
        rslora=hyper["use_rslora"],
        checkpointing=shared,
    )
    if shared:
        from tunebase_trainer.model.sharded_base import exclude_from_ddp

        exclude_from_ddp(net)
    if spec.get("start_from") is not None:
        lora.load_earlier_adapter(net, Path(spec["start_from"]))
        emit_log("Training goes on from the earlier fine-tune's adapter.")
    from tunebase_trainer.contract import MICRO_BATCH_TOKENS
    from tunebase_trainer.data import batches
    from tunebase_trainer.training import loop

    on_gpu = torch.cuda.is_available()
    share = hyper["batch_size"] // distributed.world_size()
    micro_batch = batches.choose_micro_batch_size(
        share, longest * together, tokens=MICRO_BATCH_TOKENS if on_gpu else 4_096
    )
    steps_per_epoch = math.ceil(len(data.rows) / hyper["batch_size"])
    total_steps = steps_per_epoch * hyper["num_epochs"]
    warmup = hyper["warmup_steps"]
    if warmup is None:
        warmup = math.ceil(total_steps * hyper["warmup_ratio"])
    emit_log(
        (f"Method dpo, beta {hyper['beta']:g}; " if method == "dpo" else "") + f"{data.describe()}; "
        f"{hyper['num_epochs']} epochs "
        f"of {steps_per_epoch} steps with {hyper['batch_size']} rows "
        f"(micro-batch {micro_batch}{f' on each of {distributed.world_size()} GPUs' if distributed.is_distributed() else ''}); "
        f"{trainable:,} trainable parameters; learning rate {hyper['learning_rate']:g} after {warmup} steps, "
        f"then {hyper['lr_schedule']} to 0."
    )

    # --- where an earlier worker left off, if it left off with this very run
    from tunebase_trainer.training import checkpoint_state, checkpoints

    run = {
        "hyperparameters": hyper,
        "rows": len(data.rows),
        "steps": total_steps,
        "gpus": distributed.world_size(),
        "versions": {name: made_with()[name] for name in ("transformers", "peft")},
    }
    resume: tuple[Path, checkpoint_state.TrainingState] | None = None
    if spec["resume"] is not None:
        try:
            resume = Path(spec["resume"]), checkpoint_state.load_state(Path(spec["resume"]), run)
            counts = resume[1]
            emit("resumed", step=counts.step, epoch=counts.epoch, trained_tokens=counts.trained_tokens)
            emit_log(f"Going on from the checkpoint of step {counts.step}.")
        except checkpoint_state.IncompatibleCheckpoint as why:
            emit_log(f"The checkpoint cannot be used ({why}). Training begins at the beginning.", "warn")

    # --- train
    emit_stage("training", 10)
    if distributed.any_rank(STOP.is_set()):
        emit("stopped", step=resume[1].step if resume else 0, out_of_time=False)
        return
    from tunebase_trainer.export import artifact
    from tunebase_trainer.training.metrics_log import MetricsLog

    history = MetricsLog(emit, resume[0] if resume else None)
    plan = checkpoints.Plan(
        seconds=spec["checkpoint_seconds"] or math.inf,
        stop_requested=STOP.is_set,
        deadline=STARTED + spec["seconds"] if spec.get("seconds") is not None else math.inf,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        total_tokens=data.tokens * hyper["num_epochs"],
        run=run,
        base=(hyper["base_model"], base.revision),
        emit=history.emit,
    )
    try:
        outcome = loop.train(
            net,
            tokenizer,
            data.rows,
            validation.rows if validation else [],
            hyper,
            micro_batch=micro_batch,
            warmup=warmup,
            on_gpu=on_gpu,
            plan=plan,
            directory=Path(spec["checkpoints"]),
            resume=resume,
            # On a CPU it costs too much to be worth it: there the kernel ends what takes too much.
            try_longest=on_gpu and not distributed.is_distributed(),
        )
    except checkpoints.Stopped as stopped:
        emit("stopped", step=stopped.step, out_of_time=stopped.out_of_time)
        return

    distributed.shutdown()
    if distributed.rank() > 0:
        return

    # --- save what plain PEFT loads, and what a person looks at
    emit_stage("saving", 93)
    lora.save_adapter(net, output, hyper["base_model"], base.revision)
    summary = artifact.RunSummary(
        base_model=hyper["base_model"],
        base_revision=base.revision,
        hyperparameters=hyper,
        data=data,
        validation=validation,
        steps=history.steps,
        trained_tokens=outcome.trained_tokens,
        trainable_parameters=trainable,
        versions=made_with(),
    )
    artifact.write(output, tokenizer, summary)
    seconds = 60 if on_gpu else 10
    if shared:
        emit_log("There are no sample answers: the base model is not whole on one GPU.", "warn")
    elif problem := artifact.write_samples(output, net, tokenizer, summary, seconds, STOP.is_set):
        emit_log(problem, "warn")
    if exports := hyper.get("export", []):
        from tunebase_trainer.export import merged

        del net, base_net  # the room is needed
        if problem := merged.write(output, base.path, output, tokenizer, exports):
            emit_log(problem, "warn")
    emit(
        "result",
        base_model=hyper["base_model"],
        base_revision=base.revision,
        rows=len(data.rows),
        validation_rows=len(validation.rows) if validation else 0,
        steps=outcome.steps,
        first_loss=outcome.first_loss,
        last_loss=outcome.last_loss,
        best_step=outcome.best_step,
        best_validation_loss=outcome.best_validation_loss,
        trained_tokens=outcome.trained_tokens,
        trainable_parameters=trainable,
        versions=made_with(),
        chat_template_sha256=data.template_sha256,
    )


def set_parent_death_signal() -> None:
    """A worker that is killed takes its training along: in a group of its own it would go on using the GPU, unseen."""
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
