"""Each error_code: how it comes about, and that its hint says what to do, with this run's values where they matter."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.fake_tunebase import SCHEMAS, FakeTunebase, run_input
from support.paths import SUPPORT, TRAINER

import train_lora
from handler import handler
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import hub
from tunebase_trainer.worker import adapter_upload, callback_client, error_mapping
from tunebase_trainer.worker.protocol import parse_input

CODES: list[str] = next(
    case["properties"]["error_code"]["enum"]
    for case in SCHEMAS["FinishRequest"]["oneOf"]
    if "error_code" in case["properties"]
)
Output = dict[str, Any]


class Stage:
    """Where the errors come about."""

    def __init__(self, tunebase: FakeTunebase, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.tunebase, self.model, self.monkeypatch, self.tmp_path = tunebase, model, monkeypatch, tmp_path

    async def real(self, **changes: Any) -> Output:
        """With train_lora.py itself."""
        given = run_input(self.tunebase, str(self.model), batch_size=8, lora_rank=16, max_length=512)
        given["hyperparameters"] |= changes
        return await handler({"id": "rp-1", "input": given})

    async def stub(self, **behave: Any) -> Output:
        """With tests/stub_training.py."""
        stub = SUPPORT / "stub_training.py"
        self.monkeypatch.setenv("TUNEBASE_TRAIN_COMMAND", f"'{sys.executable}' -u '{stub}'")
        self.tunebase.serve("rows.jsonl", json.dumps(behave).encode())
        return await self.real()

    async def told(self, error: TrainerError) -> Output:
        """An error of the training, as the handler passes it on."""
        return await self.stub(fail={"code": error.code, "message": error.message, "hint": error.hint})

    def trained(self, model: Path | None = None, **more: Any) -> TrainerError:
        """What train_lora.py raises, in this process."""
        (self.tmp_path / "rows").write_text(tiny.rows(4))
        spec = {
            "dataset": str(self.tmp_path / "rows"),
            "validation": None,
            "output": str(self.tmp_path / "adapter"),
            "hyperparameters": parse_input(
                run_input(self.tunebase, str(model or self.model))
            ).hyperparameters.model_dump(),
            "checkpoints": str(self.tmp_path / "checkpoints"),
            "checkpoint_seconds": None,
            "resume": None,
            "start_from": None,
            **more,
        }
        (self.tmp_path / "spec.json").write_text(json.dumps(spec))
        with pytest.raises(TrainerError) as caught:
            train_lora.main(str(self.tmp_path / "spec.json"))
        return caught.value


async def invalid_input(stage: Stage) -> Output:
    return await stage.real(lora_rank=500)


async def dataset_unreachable(stage: Stage) -> Output:
    stage.tunebase.claim = {"dataset_url": f"{stage.tunebase.url}/files/gone"}
    return await stage.real()


async def invalid_dataset(stage: Stage) -> Output:
    stage.tunebase.serve("rows.jsonl", tiny.rows(1).encode() + b'{"messages": []}\n')
    return await stage.real()


async def no_trainable_rows(stage: Stage) -> Output:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "long " * 200}]
    stage.tunebase.serve("rows.jsonl", json.dumps({"messages": messages}).encode())
    return await stage.real()


async def base_model_not_found(stage: Stage) -> Output:
    return await stage.real(base_model=str(stage.tmp_path / "nowhere"))


async def no_chat_template(stage: Stage) -> Output:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = None
    return await stage.real(base_model=str(tiny.save_model(stage.tmp_path / "base model", tokenizer)))


async def unsupported_gpu(stage: Stage) -> Output:
    stage.monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stage.monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    stage.monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    stage.monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Tesla V100")
    stage.monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (7, 0))
    return await stage.told(stage.trained())


async def gpu_unavailable(stage: Stage) -> Output:
    """A GPU that is lost after the claim; before it, test_readiness.py."""
    stage.monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return await stage.told(stage.trained(requires_gpu=True))


async def base_model_unreachable(stage: Stage) -> Output:
    """What the hub's own errors become: test_hub.py."""
    return await stage.told(hub._explain("org/model", None, ConnectionError()))


async def out_of_memory(stage: Stage) -> Output:
    return await stage.told(error_mapping.to_trainer_error(torch.OutOfMemoryError()))


async def non_finite_loss(stage: Stage) -> Output:
    from transformers import AutoModelForCausalLM

    broken = AutoModelForCausalLM.from_pretrained(stage.model)
    torch.nn.init.constant_(broken.model.norm.weight, float("nan"))
    broken.save_pretrained(stage.tmp_path / "broken")
    tiny.make_tokenizer().save_pretrained(stage.tmp_path / "broken")
    return await stage.told(stage.trained(stage.tmp_path / "broken"))


async def disk_full(stage: Stage) -> Output:
    async def download(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    stage.monkeypatch.setattr("tunebase_trainer.worker.inputs.download", download)
    return await stage.real()


async def callback_unreachable(stage: Stage) -> Output:
    stage.monkeypatch.setattr("handler.CLAIM_TIMEOUT_SECONDS", 1.0)
    stage.tunebase.away = lambda name: True
    return await stage.real()


async def upload_failed(stage: Stage) -> Output:
    stage.tunebase.storage_status = 413
    return await stage.stub()


async def trainer_killed(stage: Stage) -> Output:
    stage.monkeypatch.setenv("TUNEBASE_TRAIN_COMMAND", "sh -c 'kill -9 $$'")
    return await stage.real()


async def internal_error(stage: Stage) -> Output:
    return await stage.stub(crash="KeyError: 'x'")


TRIGGERS: dict[str, Callable[[Stage], Awaitable[Output]]] = {
    made.__name__: made
    for made in (
        invalid_input, dataset_unreachable, invalid_dataset, no_trainable_rows, base_model_not_found,
        no_chat_template, base_model_unreachable, unsupported_gpu, gpu_unavailable, out_of_memory, non_finite_loss,
        disk_full, callback_unreachable, upload_failed, trainer_killed, internal_error,
    )
}  # fmt: skip
# What the message or the hint must name of this run.
NAMED = {
    "invalid_input": ["lora_rank = '500'", "less than or equal to 128"],
    "dataset_unreachable": ["responded with 404"],
    "invalid_dataset": ["line 2: messages must be a non-empty list"],
    "no_trainable_rows": ["max_length = 512", "such as 1024"],
    "base_model_not_found": ["nowhere", "base_models.source"],
    "no_chat_template": ["base model", "instruct model"],
    "unsupported_gpu": ["Tesla V100", "Ampere or newer"],
    "gpu_unavailable": ["lost its GPU", "another worker"],
    "base_model_unreachable": ["'org/model'", "ConnectionError", "will be retried"],
    "out_of_memory": ["batch_size = 8: try 4", "max_length = 512: try 256", "lora_rank = 16: try 8"],
    "non_finite_loss": ["learning_rate = 0.001: try 0.0005", "at step 1"],
    "disk_full": ["GB are free", "more disk space"],
    "callback_unreachable": ["503", "callback URL"],
    "upload_failed": ["adapter_config.json has", "413", "file size limit"],
    "trainer_killed": ["(SIGKILL)", "max_length = 512: try 256", "batch_size = 8: try 4"],
    "internal_error": ["status 1", "not a problem with your data"],
}


@pytest.mark.parametrize("code", CODES)
async def test_each_error_code_occurs_and_has_a_hint(
    code: str, tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(callback_client, "MAX_RETRY_SECONDS", 0.2)
    monkeypatch.setattr("tunebase_trainer.worker.attempt.FINISH_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(adapter_upload, "FINISH_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr("tunebase_trainer.worker.transfers.MAX_TRIES", 1)
    output = await TRIGGERS[code](Stage(tunebase, tiny_model, monkeypatch, tmp_path))
    assert (output["status"], output["error_code"]) == ("failed", code), output
    assert output["hint"]
    for part in NAMED[code]:
        assert part in f"{output['error']} {output['hint']}"
    # A base model in a directory is known by it.
    assert str(tmp_path) not in output["hint"].replace(f"base_model = {tmp_path}/base model", "")
    if code != "callback_unreachable":
        said = tunebase.of("finish")[-1]
        assert (said["error_code"], said["error_message"], said["hint"]) == (code, output["error"], output["hint"])
    readme = (TRAINER / "README.md").read_text()
    assert f"| `{code}` " in readme


def test_a_hint_asks_for_nothing_smaller_than_is_allowed(tunebase: FakeTunebase) -> None:
    smallest = parse_input(run_input(tunebase, "x", max_length=64, lora_rank=4, batch_size=1, learning_rate=1e-6))
    error = TrainerError("out_of_memory", "Too small.", "A smaller base model.")
    hint = error_mapping.add_hint(error, smallest.hyperparameters).hint
    assert hint == "A smaller base model. This run: batch_size = 1; lora_rank = 4; max_length = 64."
    diverged = error_mapping.add_hint(TrainerError("non_finite_loss", "x"), smallest.hyperparameters)
    assert diverged.hint == "This run: learning_rate = 1e-06, the minimum."


async def test_after_a_crash_the_jobs_log_has_the_last_lines_without_secrets_and_paths(
    tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a token of no known form")
    crash = "\n".join(
        [
            "Loading weights:  99%|█████████▉| 269/272",
            f'  File "{tmp_path}/work/x/spec.py", line 3, in main',
            "GET https://user:pass@example.com/secret/path?token=abcdef of /runpod-volume/models/x/config.json",
            "with a token of no known form, hf_abcdefghijk, whsec_MfKQ9r8GKYqrTwjU, Bearer abc.def, api_key=xyz",
            "eyJhbGciOi.eyJzdWIi.sig and either/or and 3/4 and a/b/c.txt",
            "ValueError: 'x'",
        ]
    )
    await Stage(tunebase, tiny_model, monkeypatch, tmp_path).stub(crash=crash)
    (event,) = [event for event in tunebase.reported("events") if event["level"] == "error"]
    assert event["message"].splitlines() == [
        "The trainer's last lines:",
        '  File "spec.py", line 3, in main',
        "GET https://example.com/… of config.json",
        "with [secret], [secret], [secret], Bearer [secret], api_key=[secret]",
        "[secret] and either/or and 3/4 and a/b/c.txt",
        "ValueError: 'x'",
    ]


async def test_the_tail_of_a_log_fits_a_report(
    tunebase: FakeTunebase, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = "\n".join(f"line {n} " + "x" * 300 for n in range(100))
    await Stage(tunebase, tiny_model, monkeypatch, tmp_path).stub(crash=crash)
    (event,) = [event for event in tunebase.reported("events") if event["level"] == "error"]
    assert len(event["message"]) <= 2000
    assert event["message"].splitlines()[-1].startswith("line 99 ")
