"""Rows that follow each other in one sequence see themselves alone, and train as rows of a padded batch do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models
from support.short_run import run
from transformers import AutoModelForCausalLM

from tunebase_trainer.data.batches import collate, join, pack_sequences
from tunebase_trainer.data.dataset import IGNORED, Row
from tunebase_trainer.kernels import packed_attention
from tunebase_trainer.training.loop import _enable_packing
from tunebase_trainer.training.loss import token_losses


class Padding:
    pad_token_id = 0


def enabled(net: Any) -> tuple[bool, list[str]]:
    """Whether rows are packed, and what the job's log says."""
    log: list[str] = []
    return _enable_packing(net, list(rows()), lambda kind, level, message: log.append(message)), log


def rows() -> list[Row]:
    made = []
    for n, length in enumerate((9, 30, 17, 5, 24, 12, 40, 8)):
        ids = [3 + (7 * n + 5 * position) % 64 for position in range(length)]
        made.append(Row(ids, [IGNORED] * (length // 3) + ids[length // 3 :], line=n + 1))
    return made


def model(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(tiny_models.config(kind, **changes), dtype=torch.float32)
    for weight in net.requires_grad_(False).parameters():
        if weight.dim() > 1:  # so that each part matters to the loss
            weight.normal_(0, 0.1)
    return net


def test_joined_rows_have_their_own_positions_and_no_row_learns_from_the_one_before() -> None:
    first, second = Row([5, 6, 7], [5, IGNORED, 7]), Row([8, 9], [8, 9])
    joined = {name: tensor.tolist() for name, tensor in join([first, second]).items()}
    assert joined == {
        "input_ids": [[5, 6, 7, 8, 9]],
        "labels": [[IGNORED, IGNORED, 7, IGNORED, 9]],
        "lengths": [3, 2],
        "position_ids": [[0, 1, 2, 0, 1]],
        "boundaries": [0, 3, 5],
    }


def test_sequences_are_packed_by_their_tokens() -> None:
    packed = pack_sequences(rows(), 41)
    lengths = [[rows()[index].length for index in group] for group in packed]
    assert lengths == [[40], [30, 9], [24, 17], [12, 8, 5]]
    assert pack_sequences(rows(), 10)[0] == [6], "a longer row is alone"


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_packed_rows_do_not_leak_into_each_other(kind: str) -> None:
    net = model(kind)
    assert enabled(net) == (True, ["Rows are packed without padding."])
    apart, _ = token_losses(net, collate(rows(), 0))
    packed, _ = token_losses(net, join(rows()))
    torch.testing.assert_close(packed, apart, rtol=1e-4, atol=1e-5)
    # Another text before a row changes nothing in it.
    *_, last = rows()
    behind = token_losses(net, join([Row([99] * 20, [IGNORED] * 20), last]))[0]
    torch.testing.assert_close(behind, token_losses(net, collate([last], 0))[0], rtol=1e-4, atol=1e-5)
    net.eval()  # answers are generated with padding and a cache, as before
    prompt = torch.tensor([[0, 0, 5, 6], [5, 6, 7, 8]])
    settings = {"attention_mask": (prompt > 0).long(), "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    generated = net.generate(prompt, **settings)
    net.config._attn_implementation = "sdpa"
    assert torch.equal(net.generate(prompt, **settings), generated)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("qwen3_next", {}, "not all of its layers have full attention"),
        ("mistral", {"sliding_window": 8}, "not all of its layers have full attention"),
    ],
)
def test_a_model_that_mixes_tokens_otherwise_is_not_packed(kind: str, changes: dict[str, Any], says: str) -> None:
    net = model(kind, **changes)
    assert enabled(net) == (False, [f"Rows are not packed: {says}."])
    assert net.config._attn_implementation == "sdpa"


def test_a_model_in_which_rows_leak_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = packed_attention.attention

    def leaking(*args: Any, cu_seq_lens_q: Any = None, max_length_q: Any = None, **kwargs: Any) -> Any:
        return whole(*args, **kwargs)

    monkeypatch.setattr(packed_attention, "attention", leaking)
    assert enabled(model("llama")) == (False, ["Rows are not packed: rows would change each other's loss."])


def test_a_run_with_packed_rows_is_one_with_padded_rows(tmp_path: Path) -> None:
    tiny_models.save("llama", tmp_path / "model")

    def with_checkpointing(net: Any) -> None:
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        net.enable_input_require_grads()

    def trained(packing: bool) -> list[dict[str, Any]]:
        net = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
        _, told = run(
            net, Padding(), rows(), tmp_path / str(packing), batch_size=8, micro_batch_tokens=64, packing=packing,
            probe_largest=True, prepare=with_checkpointing,
        )  # fmt: skip
        return [event for event in told if event["type"] == "step"]

    packed, padded = trained(True), trained(False)
    assert len(packed) == 2
    for one, other in zip(packed, padded, strict=True):
        assert one["trained_tokens"] == other["trained_tokens"]
        assert one["training_loss"] == pytest.approx(other["training_loss"], rel=5e-3)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=3e-2)
