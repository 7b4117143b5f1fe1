"""The evaluation at the end of training: all ranks measure losses, and one of them compares answers.

The adapter is more important than its evaluation, so a failure is only a warning.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract import Evaluation
from ..data.dataset import Dataset, read_prompts
from ..model import distributed
from ..training.loop import padding_token
from .evaluator import Evaluator, choose_rows, describe, sample_limit, time_budget

EmitLog = Callable[..., None]
Samples = dict[str, Any]
"""Arguments of `artifact.write_samples`."""


def measure_losses(
    net: Any,
    tokenizer: Any,
    data: Dataset,
    validation: Dataset | None,
    *,
    seed: int,
    micro_batch_tokens: int,
    steps: list[dict[str, Any]],
    seconds_left: float,
    stop_requested: Callable[[], bool],
    emit_log: EmitLog,
) -> Evaluator | None:
    """Returns None if the operator has disabled the evaluation, or if it failed. Collective: every rank must call
    it."""
    try:
        seconds = time_budget(net.device.type != "cpu", steps, seconds_left)
        if not distributed.any_rank(seconds > 0):
            return None
        evaluator = Evaluator(net, tokenizer, choose_rows(data, validation, seed), seconds, stop_requested)
        evaluator.measure_losses(micro_batch_tokens, padding_token(tokenizer))
    except Exception as error:
        if distributed.is_distributed():  # the other ranks wait for this one
            raise
        traceback.print_exc()
        emit_log(f"The evaluation failed ({type(error).__name__}).", "warn")
        return None
    return evaluator


def compare_answers(
    evaluator: Evaluator | None, path: Path, sharded: bool, emit_log: EmitLog
) -> tuple[Evaluation | None, Samples | None]:
    """The scores, and the contents of samples.json. `path`: the file with the evaluated rows."""
    if evaluator is None:
        return None, None
    count = 0
    if sharded:
        emit_log("No answers are generated: the base model is sharded, and no GPU has all of it.", "warn")
    else:
        try:
            count = sample_limit()
            if count > 0:
                evaluator.compare_answers(read_prompts(path, evaluator.tokenizer, evaluator.chosen.rows), count)
        except Exception as error:
            traceback.print_exc()
            emit_log(f"The answers could not be generated ({type(error).__name__}).", "warn")
    evaluation = evaluator.evaluation()
    if evaluation is not None:
        emit_log(describe(evaluation))
    samples = evaluator.samples(count)
    return evaluation, {"samples": samples, "source": evaluator.chosen.source} if samples else None
