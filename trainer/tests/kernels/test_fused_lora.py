"""LoRA's fused forward against PEFT's own, and batches of padded rows against single ones, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models
from transformers import AutoModelForCausalLM

from tunebase_trainer.data.batches import collate
from tunebase_trainer.data.dataset import IGNORED, Row
from tunebase_trainer.kernels import fused_lora
from tunebase_trainer.kernels.cpu_dropout import dropout_mask
from tunebase_trainer.model.lora import add_lora
from tunebase_trainer.training.loss import supervised_loss


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save("llama", tmp_path_factory.mktemp("llama"))


def adapted(path: Path, dropout: float = 0.0, **loading: Any) -> Any:
    """With an adapter that matters, always the same."""
    torch.manual_seed(1)
    net, _ = add_lora(AutoModelForCausalLM.from_pretrained(path, **loading), 4, 8, dropout)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return net


def gradients(net: Any, ids: torch.Tensor, autocast: bool = True) -> torch.Tensor:
    """All of them, in one row after the loss."""
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = supervised_loss(net, {"input_ids": ids, "labels": ids}, None)
    loss.backward()  # type: ignore[no-untyped-call]
    found = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    assert len(found) == 28, "A and B of seven matrices in two layers"
    return torch.cat([loss.detach()[None], *found])


def test_loss_and_gradients_are_as_accurate_as_with_pefts_forward(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.randint(3, 300, (2, 40))
    masks: list[torch.Tensor] = []

    def kept(like: torch.Tensor, p: float) -> torch.Tensor:
        masks.append(dropout_mask(like, p))
        return masks[-1]

    monkeypatch.setattr(fused_lora, "dropout_mask", kept)
    net = adapted(llama, dropout=0.4, dtype=torch.bfloat16).train()
    found = gradients(net, ids)
    assert len(masks) == 14, "each matrix has a mask of its own"

    class Given(torch.nn.Module):
        """PEFT's dropout, with the mask of the same place."""

        def __init__(self, mask: torch.Tensor) -> None:
            super().__init__()
            self.mask = mask

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.mask.view(x.shape) / 0.6

    def by_peft(net: Any, autocast: bool) -> torch.Tensor:
        layers = [
            module for module in net.modules() if isinstance(getattr(module, "forward", None), fused_lora._Forward)
        ]
        for layer, mask in zip(layers, masks, strict=True):  # a model's modules are in the order of its forward
            layer.forward = layer.forward.peft_forward
            layer.lora_dropout["default"] = Given(mask)
        return gradients(net, ids, autocast)

    true = by_peft(adapted(llama, dropout=0.4, dtype=torch.float32).train(), autocast=False)
    off = (by_peft(net, autocast=True) - true).norm()
    assert 0 < off < 0.1 * true.norm(), "bf16 has 8 bits"
    assert (found - true).norm() < 1.2 * off


def test_without_the_adapter_or_autocast_pefts_forward_is_used(llama: Path) -> None:
    ids = torch.randint(3, 300, (1, 12))
    net = adapted(llama, dtype=torch.float32).eval()
    bare = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    with torch.no_grad(), net.disable_adapter(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(ids).logits, bare(ids).logits)
    with torch.no_grad():
        exact = net(ids).logits
        assert (exact - bare(ids).logits).abs().max() > 0.05
        with torch.autocast("cpu", torch.bfloat16):
            assert 0 < (net(ids).logits - exact).abs().max() < 0.1
    merged = net.merge_and_unload()
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.001])
def test_dropout_drops_each_element_with_the_requested_probability(p: float) -> None:
    torch.manual_seed(0)
    like = torch.empty(37, 101)
    draws = torch.stack([dropout_mask(like, p) for _ in range(800)]).float()
    count = draws.numel()
    assert set(draws.flatten().tolist()) == {0, 1}
    # The threshold is drawn again each time, which spreads the mean by up to half of 1/256 a draw.
    spread = (p * (1 - p) / count) ** 0.5 + 0.5 / 256 / 800**0.5
    assert abs(float(draws.mean()) - (1 - p)) < 4 * spread
    rows = draws[:, :, :100].reshape(800, -1) - draws.mean()
    neighbours = float((rows[:, 1:] * rows[:, :-1]).mean()) / (p * (1 - p))
    assert abs(neighbours) < 0.02, "neither with its neighbour"


def test_dropout_depends_on_the_seed() -> None:
    like = torch.empty(3, 5)
    torch.manual_seed(7)
    first, second = dropout_mask(like, 0.5), dropout_mask(like, 0.5)
    torch.manual_seed(7)
    assert torch.equal(dropout_mask(like, 0.5), first) and not torch.equal(first, second)


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_padding_changes_nothing(kind: str, tmp_path: Path) -> None:
    net = adapted(tiny_models.save(kind, tmp_path), dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(2)
    rows = []
    for line, length in enumerate((5, 23, 11)):
        ids = torch.randint(3, 300, (length,), generator=generator).tolist()
        rows.append(Row(input_ids=ids, labels=[IGNORED] * 3 + ids[3:], line=line))
    with torch.no_grad():
        together = float(supervised_loss(net, collate(rows, 0), 1))
        apart = sum(float(supervised_loss(net, collate([row], 0), 1)) for row in rows)
        longest, labels = torch.tensor([rows[1].input_ids]), torch.tensor([rows[1].labels])
        own = float(net(input_ids=longest, labels=labels).loss)
        assert float(supervised_loss(net, collate([rows[1]], 0), None)) == pytest.approx(own, rel=1e-4), (
            "the model's own loss"
        )
    assert together == pytest.approx(apart, rel=1e-4)
