"""Direct preference optimization: the loss is TRL's, the reference is what training began with, and it is learned."""

from __future__ import annotations

import json
import math
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny
from support.paths import TRAINER
from support.short_run import run

from tunebase_trainer.data.batches import collate, padded_tokens
from tunebase_trainer.data.dataset import IGNORED, Pair, read
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training import preference
from tunebase_trainer.training.checkpoints import Plan, Stopped
from tunebase_trainer.training.loop import padding_token
from tunebase_trainer.worker import process

BETA = 0.3
TWOS = [[7, 0], [2, 3], [4, 5], [6, 1]]
"""Micro-batches of eight pairs."""


@pytest.fixture(scope="module")
def pairs(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text(tiny.pairs(8))
    return read(path, tiny_tokenizer, 512, method="dpo").rows


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture
def net(model: Any) -> Any:
    torch.manual_seed(0)
    return add_lora(model, rank=4, alpha=8, dropout=0.0)[0]


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "seconds": math.inf,
        "stop_requested": lambda: False,
        "deadline": math.inf,
        "total_steps": 4,
        "eval_steps": 2,
        "total_tokens": 100,
        "run": {},
        "base": ("tiny", None),
        "emit": lambda *_, **__: None,
    }
    return Plan(**given | changes)


def shifted(net: Any, seed: int = 1) -> None:
    """Away from where it was."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "lora_B.default" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)


def gradient(net: Any) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for name, weight in net.named_parameters() if ".default." in name])


def with_plain_reference(net: Any, pairs: Any) -> Any:
    """In fp32, as TRL computes it here."""
    with torch.no_grad():
        values = preference.answer_log_probs(net, collate(pairs, 0))
    return preference.attach_reference(pairs, values)


def test_both_answers_are_learned_completely_after_the_same_prompt(pairs: Any, tiny_tokenizer: Any) -> None:
    assert len(pairs) == 8
    for n, pair in enumerate(pairs, 1):
        asked, told = [], []
        for row in pair.sequences:
            asked.append(row.input_ids[: next(i for i, label in enumerate(row.labels) if label != IGNORED)])
            told.append(tiny_tokenizer.decode([label for label in row.labels if label != IGNORED]))
        assert asked[0] == asked[1]
        assert told == [f"yes {'sure ' * (n % 3)}{n}<|im_end|>", f"no {'never ' * (n % 4)}{n * n}<|im_end|>"]
        assert pair.line == n


@pytest.mark.parametrize("earlier", [False, True], ids=["from the base", "from an earlier fine-tune"])
def test_loss_and_gradient_equal_trls_dpo_trainer(
    net: Any, pairs: Any, tiny_tokenizer: Any, tmp_path: Path, earlier: bool
) -> None:
    """Compared: the loss, and the gradient of every LoRA weight, of TRL's DPOTrainer (its compute_loss on a batch of
    its own collator), all in fp32. TRL copies the adapter that it is given and computes the reference at every step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    if earlier:
        shifted(net)
    known = with_plain_reference(net, pairs)
    said = [{"prompt": "a", "chosen": "b", "rejected": "c"}]  # what its constructor wants; not used
    config = DPOConfig(
        output_dir=str(tmp_path), beta=BETA, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False
    )
    trainer = DPOTrainer(model=net, args=config, train_dataset=Dataset.from_list(said), processing_class=tiny_tokenizer)
    shifted(net, seed=2)
    with torch.no_grad():
        reward_margins = preference.reward_margins(net, collate(known, 0), BETA)
    assert reward_margins.std() > 0.1, "not where every pair weighs the same"

    def ids(row: Any) -> tuple[list[int], list[int]]:
        begin = next(i for i, label in enumerate(row.labels) if label != IGNORED)
        return row.input_ids[:begin], [label for label in row.labels if label != IGNORED]

    batch = DataCollatorForPreference(pad_token_id=0)(
        [
            {
                "prompt_ids": ids(pair.chosen)[0],
                "chosen_ids": ids(pair.chosen)[1],
                "rejected_ids": ids(pair.rejected)[1],
            }
            for pair in pairs
        ]
    )
    theirs = trainer.compute_loss(net, batch)
    theirs.backward()
    expected = gradient(net)
    net.zero_grad()
    loss = preference.dpo_loss(net, collate(known, 0), BETA, None)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    torch.testing.assert_close(gradient(net), expected, rtol=1e-3, atol=1e-6)


def test_a_padded_batch_equals_its_pairs_one_by_one(net: Any, pairs: Any) -> None:
    with torch.no_grad():
        together = preference.answer_log_probs(net, collate(pairs, 0))
        apart = torch.cat([preference.answer_log_probs(net, collate([pair], 0)) for pair in pairs])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-4)
    assert len({pair.length for pair in pairs}) > 3


def test_micro_batches_weight_pairs_equally_and_padding_examples_not_at_all(net: Any, pairs: Any) -> None:
    known = with_plain_reference(net, pairs[:5])
    shifted(net)

    def made(*parts: Any) -> tuple[float, torch.Tensor]:
        net.zero_grad()
        total = 0.0
        for part in parts:
            loss = preference.dpo_loss(net, collate(part, 0), BETA, 5)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss)
        return total, gradient(net)

    whole, whole_gradient = made(known)
    parts, parts_gradient = made(known[:3], [known[3]], [known[4], known[0].padding_example()])
    assert whole == pytest.approx(float(preference.dpo_loss(net, collate(known, 0), BETA, None)), rel=1e-5)
    assert parts == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(parts_gradient, whole_gradient, rtol=1e-3, atol=1e-6)


def test_the_reference_uses_the_starting_weights_without_dropout(
    model: Any, pairs: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = add_lora(model, rank=4, alpha=8, dropout=0.1)[0].train()
    found = preference.compute_reference(net, pairs, TWOS, 0, plan())
    assert net.training
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), net.disable_adapter():
        base = preference.answer_log_probs(net.eval(), collate(pairs, 0))
    torch.testing.assert_close(found, base, rtol=0.02, atol=0.2)
    shifted(net)  # as an earlier fine-tune's adapter
    earlier = preference.compute_reference(net.train(), pairs, TWOS, 0, plan())
    assert (earlier - base).abs().max() > 1
    assert torch.equal(earlier, preference.compute_reference(net, pairs, TWOS, 0, plan())), "no dropout"


def test_a_run_can_be_stopped_while_it_computes_the_reference(net: Any, pairs: Any) -> None:
    for changes, out_of_time in (({"stop_requested": lambda: True}, False), ({"deadline": time.monotonic()}, True)):
        with pytest.raises(Stopped) as stopped:
            preference.compute_reference(net, pairs, TWOS, 0, plan(**changes))
        assert (stopped.value.step, stopped.value.out_of_time) == (0, out_of_time)


def accuracy(net: Any, pairs: Any) -> float:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        reward_margins = preference.reward_margins(net.eval(), collate(pairs, 0), BETA)
    return float((reward_margins > 0).float().mean())


def test_the_preferred_answers_become_more_likely(model: Any, tiny_tokenizer: Any, pairs: Any, tmp_path: Path) -> None:
    nets: list[Any] = []
    outcome, told = run(
        model, tiny_tokenizer, pairs, tmp_path, prepare=nets.append, method="dpo", beta=BETA, num_epochs=6,
        validation=pairs[:3],
    )  # fmt: skip
    steps = [event for event in told if event["type"] == "step"]
    assert steps[0]["training_loss"] == pytest.approx(math.log(2), abs=0.02), "nothing is learned yet"
    assert outcome.last_loss is not None and outcome.last_loss < 0.4
    assert outcome.trained_tokens == 6 * sum(pair.tokens for pair in pairs), "both answers' tokens"
    known = preference.attach_reference(pairs, preference.load_reference(tmp_path)[:8])
    assert accuracy(nets[0], known) == 1.0
    said = [event["message"] for event in told if event["type"] == "log"]
    assert "in 100% of the pairs the preferred answer has gained on the other" in said[-1]
    validated = [event["validation_loss"] for event in steps if event["validation_loss"] is not None]
    assert len(validated) == 6 and validated[-1] < validated[0]


def test_micro_batches_make_the_steps_of_the_whole_batch(
    tiny_model: Path, tiny_tokenizer: Any, pairs: Any, tmp_path: Path
) -> None:
    """7 pairs in batches of 4: the last step's are 3, in micro-batches of 2 and 1."""
    from transformers import AutoModelForCausalLM

    told = []
    for micro in (4, 2):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        changes: dict[str, Any] = {"method": "dpo", "beta": BETA, "validation": []}
        told.append(run(model, tiny_tokenizer, pairs[:7], tmp_path / str(micro), micro=micro, **changes)[1])
    for whole, halved in zip(*told, strict=True):
        assert halved["training_loss"] == pytest.approx(whole["training_loss"], rel=1e-3)
        assert halved["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=0.02)


def test_running_out_of_memory_continues_with_fewer_pairs_and_the_same_reference(
    model: Any, tiny_tokenizer: Any, pairs: Any, tmp_path: Path
) -> None:
    longest = max(padded_tokens(pair) for pair in pairs)
    sizes: list[int] = []

    def gpu(net: Any) -> None:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            sizes.append(len(kwargs["input_ids"]))
            if sizes[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")

        net.get_base_model().register_forward_pre_hook(hook, with_kwargs=True)

    _, told = run(model, tiny_tokenizer, pairs, tmp_path, micro=4, prepare=gpu, method="dpo", beta=BETA, validation=[])
    assert max(sizes[sizes.index(8) + 1 :]) <= 4, "two pairs"
    assert [event["step"] for event in told if event["type"] == "step"] == [1, 2, 3, 4]
    assert f"with micro-batches of up to {2 * longest} tokens" in next(
        event["message"] for event in told if event["type"] == "log"
    )


def test_both_prompts_lose_the_same_history_and_answers_stay_complete(tiny_tokenizer: Any, tmp_path: Path) -> None:
    turns = [{"role": role, "content": f"{role} {n} " + "x" * 40} for n in range(3) for role in ("user", "assistant")]
    row = {
        "input": {"messages": [*turns, {"role": "user", "content": "last"}]},
        "preferred_output": [{"role": "assistant", "content": "yes"}],
        "non_preferred_output": [{"role": "assistant", "content": "no " * 30}],
    }
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row) + "\n")

    def made(max_length: int) -> Pair:
        data = read(path, tiny_tokenizer, max_length, method="dpo")
        assert (data.truncated, data.conversations) == (1, 1)
        (pair,) = data.rows
        assert isinstance(pair, Pair) and pair.length <= max_length
        for side, answer in ((pair.chosen, "yes"), (pair.rejected, "no " * 30)):
            assert tiny_tokenizer.decode([label for label in side.labels if label != IGNORED]) == f"{answer}<|im_end|>"
        begin = [next(i for i, label in enumerate(s.labels) if label != IGNORED) for s in pair.sequences]
        prompts = [side.input_ids[:start] for side, start in zip(pair.sequences, begin, strict=True)]
        assert prompts[0] == prompts[1]
        return pair

    whole = read(path, tiny_tokenizer, 4096, method="dpo").rows[0]
    assert isinstance(whole, Pair)
    # As long as the rejected answer lets it be, for the preferred one too.
    assert made(whole.rejected.length - 1).chosen.length < whole.chosen.length
    assert made(whole.rejected.length - 150).chosen.input_ids[1:5] == tiny_tokenizer("user").input_ids
    made(100)  # where even the last question is cut
    with pytest.raises(TrainerError) as caught:
        read(path, tiny_tokenizer, 64, method="dpo")
    assert "answers longer than max_length = 64" in caught.value.message


@pytest.mark.parametrize(
    ("text", "method", "said", "hint"),
    [
        (tiny.pairs(2), "supervised", 'The training data has preference rows, but method "supervised"', 'method "dpo"'),
        (tiny.rows(2), "dpo", "The training data has chat rows, but method", 'method "supervised"'),
    ],
)
def test_rows_of_the_other_method_are_rejected(
    tiny_tokenizer: Any, tmp_path: Path, text: str, method: str, said: str, hint: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(TrainerError) as caught:
        read(path, tiny_tokenizer, 512, method=method)
    assert caught.value.code == "invalid_dataset"
    assert said in caught.value.message and hint in caught.value.hint


def test_pairs_that_render_identically_are_skipped(tiny_tokenizer: Any, tmp_path: Path) -> None:
    row = json.loads(tiny.pairs(1))
    same = {**row, "non_preferred_output": row["preferred_output"]}
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(row)}\n{json.dumps(same)}\n")
    data = read(path, tiny_tokenizer, 512, method="dpo")
    assert (data.conversations, data.skipped) == (1, 1)


HYPER = {
    "base_revision": None, "method": "dpo", "beta": BETA, "learning_rate": 1e-3, "batch_size": 4, "num_epochs": 2,
    "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.1, "use_rslora": False, "warmup_steps": None,
    "warmup_ratio": 0.05, "lr_schedule": "linear", "weight_decay": 0.01, "max_grad_norm": 1.0, "validation_split": 0.0,
    "early_stopping_patience": 3, "max_length": 256, "seed": 7,
}  # fmt: skip


def script(
    directory: Path, model: Path, processes: int = 1, resume: str | None = None, every: float | None = None, **more: Any
) -> list[dict[str, Any]]:
    """Runs train_lora.py on 10 pairs, and 3 to validate with: three steps an epoch, the last of 2 pairs."""
    directory.mkdir()
    (directory / "pairs.jsonl").write_text(tiny.pairs(10))
    (directory / "validation.jsonl").write_text(tiny.pairs(3))
    spec = {
        "dataset": str(directory / "pairs.jsonl"),
        "validation": str(directory / "validation.jsonl"),
        "output": str(directory / "adapter"),
        "hyperparameters": {**HYPER, "base_model": str(model), **more},
        "num_gpus": processes,
        "checkpoints": str(directory / "checkpoints"),
        "checkpoint_seconds": every,
        "resume": resume,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run(
        [*process.training_command(), str(directory / "spec.json")],
        cwd=TRAINER,
        env=process.training_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"type"')]


TOLD = ("step", "training_loss", "validation_loss", "gradient_norm", "learning_rate", "trained_tokens", "progress")


def steps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: event[name] for name in TOLD} for event in events if event["type"] == "step"]


@pytest.fixture(scope="module")
def often(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A run with a checkpoint after each step."""
    return script(tmp_path_factory.mktemp("often") / "run", tiny_model, every=0.001)


def test_a_resumed_run_makes_exactly_the_steps_of_an_uninterrupted_one(
    often: list[dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    whole = script(tmp_path / "whole", tiny_model)
    assert steps(often) == steps(whole) and len(steps(whole)) == 6
    saved = {event["step"]: event["path"] for event in often if event["type"] == "checkpoint"}
    resumed = script(tmp_path / "resumed", tiny_model, resume=saved[4], every=0.001)
    assert steps(resumed) == steps(whole)[4:]
    again = {event["step"]: event["path"] for event in resumed if event["type"] == "checkpoint"}
    assert torch.equal(*(preference.load_reference(Path(path)) for path in (saved[4], again[5])))
    results = [next(event for event in events if event["type"] == "result") for events in (resumed, whole)]
    assert results[0] == results[1]
    config = json.loads((tmp_path / "whole" / "adapter" / "adapter_config.json").read_text())
    assert HYPER["lora_dropout"] != config["lora_dropout"] == 0, "as the reference"
    card = (tmp_path / "whole" / "adapter" / "README.md").read_text()
    assert "| method | direct preference optimization (DPO), beta 0.3 |" in card


def test_a_resumed_run_uses_the_reference_of_its_checkpoint(
    tiny_model: Path, tiny_tokenizer: Any, pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    from tunebase_trainer.training.checkpoint_state import load_state

    changes: dict[str, Any] = {"method": "dpo", "beta": BETA, "validation": []}
    told = []
    for name, resume in (("first", None), ("second", tmp_path / "first" / "checkpoint-2")):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        kept = (resume, load_state(resume, {})) if resume else None
        told.append(run(model, tiny_tokenizer, pairs, tmp_path / name, every=0.0, resume=kept, **changes)[1])
        monkeypatch.delattr(preference, "reference", raising=False)  # nothing computes it again
    assert steps(told[1]) == steps(told[0])[2:]


def test_a_checkpoint_without_the_reference_cannot_be_used(often: list[dict[str, Any]]) -> None:
    from tunebase_trainer.training.checkpoint_state import REFERENCE_FILE, IncompatibleCheckpoint, load_state

    path = Path(next(event["path"] for event in often if event["type"] == "checkpoint"))
    made = json.loads((path / "tunebase.json").read_text())["run"]
    assert load_state(path, made).step == 1
    (path / REFERENCE_FILE).rename(path / "elsewhere")
    with pytest.raises(IncompatibleCheckpoint, match=REFERENCE_FILE):
        load_state(path, made)


def test_two_processes_make_the_steps_of_one(tiny_model: Path, tmp_path: Path) -> None:
    """10 pairs: an epoch's last step has two, and the other process fillers."""
    alone, shared = (
        script(tmp_path / str(count), tiny_model, count, lora_dropout=0.0, num_epochs=1) for count in (1, 2)
    )
    assert len(steps(alone)) == 3
    for ours, theirs in zip(steps(shared), steps(alone), strict=True):
        assert (ours["step"], ours["trained_tokens"]) == (theirs["step"], theirs["trained_tokens"])
        assert ours["training_loss"] == pytest.approx(theirs["training_loss"], rel=2e-3)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=0.02)


def test_continuing_from_a_fine_tune_the_first_loss_is_that_of_no_preference(
    model: Any, tiny_tokenizer: Any, pairs: Any, tmp_path: Path
) -> None:
    _, told = run(
        model, tiny_tokenizer, pairs, tmp_path, prepare=shifted, method="dpo", beta=BETA, validation=[], num_epochs=1
    )
    assert told[0]["training_loss"] == pytest.approx(math.log(2), abs=0.02)


def test_a_padding_example_is_not_a_pair(pairs: Any) -> None:
    known = replace(pairs[0], reference=(-1.0, -2.0))
    batch = collate([known, known.padding_example()], 0)
    assert preference.learned_pairs(batch).tolist() == [True, False]
    assert padding_token(type("Tokenizer", (), {"pad_token_id": None, "eos_token_id": 5})()) == 5
