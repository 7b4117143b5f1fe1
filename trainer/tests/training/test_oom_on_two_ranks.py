"""When one of several GPUs runs out of memory, what all ranks start again with; test_distributed.py has two that do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunebase_trainer.model import distributed


def test_a_restart_continues_from_the_newest_complete_checkpoint_in_the_time_that_is_left(tmp_path: Path) -> None:
    spec, reports = tmp_path / "spec.json", list[str]()

    def next_spec(**changes: Any) -> dict[str, Any] | None:
        content = {"checkpoints": str(tmp_path / "checkpoints"), "resume": None, "seconds": 100.0}
        spec.write_text(json.dumps({**content, "hyperparameters": {"batch_size": 8}, **changes}))
        if not distributed._next_spec(str(spec), 40.0, lambda message, level: reports.append(message)):
            return None
        result: dict[str, Any] = json.loads(spec.read_text())
        return result

    def request(tokens: int) -> None:
        distributed.request_restart(str(spec), distributed.RestartNeeded(tokens))

    assert next_spec() is None, "no rank has requested one"
    request(512)
    found = next_spec()
    assert found is not None
    assert (found["micro_batch_tokens"], found["resume"], found["seconds"]) == (512, None, 60.0)
    assert next_spec() is None, "each request counts once"
    for step, complete in ((8, True), (9, True), (10, False)):
        directory = tmp_path / "checkpoints" / f"checkpoint-{step}"
        directory.mkdir(parents=True)
        if complete:
            (directory / "tunebase.json").write_text("{}")
    request(256)
    found = next_spec(micro_batch_tokens=512, resume="/elsewhere/checkpoint-7", seconds=None)
    assert found is not None
    assert (found["resume"], found["seconds"]) == (str(tmp_path / "checkpoints" / "checkpoint-9"), None)
    request(256)
    assert next_spec(micro_batch_tokens=256) is None, "it would run out of memory again"
    assert [message.split(" with ")[0] for message in reports] == [
        "A GPU ran out of memory. All GPUs restart from the start",
        "A GPU ran out of memory. All GPUs restart from step 9",
    ]
