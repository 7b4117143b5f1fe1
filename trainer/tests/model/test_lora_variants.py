"""DoRA and PiSSA: trained for real on an NF4 base, and loaded with PEFT alone on the unmodified base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file
from support import tiny, tiny_models
from support.short_run import run
from transformers import AutoModelForCausalLM

from tunebase_trainer.data.dataset import read
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import loading, lora
from tunebase_trainer.model.lora_variants import principal_vectors
from tunebase_trainer.training.checkpoint_state import load_state

IDS = torch.arange(3, 40)[None]
VARIANTS = ("dora", "pissa")


@pytest.fixture(scope="module")
def rows(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(tiny.rows(8))
    return read(path, tiny_tokenizer, 512).rows


def quantized(path: Path) -> Any:
    return loading.load_quantized(path)[0]


def logits(net: Any) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found: torch.Tensor = net.eval()(input_ids=IDS).logits.float()
    return found


def in_full_precision(net: Any, path: Path) -> Any:
    """A plain model in fp32 with the values of the quantized base."""
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    base = net.get_base_model()
    with torch.no_grad():
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                plain.get_submodule(name).weight.copy_(dequantize_module_weight(module.get_base_layer()).float())
    return plain


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_trained_adapter_loads_in_stock_peft_on_the_unmodified_base(
    variant: str, tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    nets: list[Any] = []
    base = quantized(tiny_model)
    untrained = logits(base)
    settings: dict[str, Any] = {"num_epochs": 6, "learning_rate": 1e-2, "dropout": 0.1, "variant": variant}
    outcome, _ = run(base, tiny_tokenizer, rows, tmp_path / "run", validation=[], prepare=nets.append, **settings)
    assert outcome.first_loss is not None and outcome.last_loss is not None
    assert outcome.last_loss < outcome.first_loss - 0.05
    lora.save_adapter(nets[0], tmp_path / "adapter", str(tiny_model), None)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["init_lora_weights"]) == (variant == "dora", True)
    assert (config["r"], config["lora_alpha"]) == ((8, 16) if variant == "pissa" else (4, 8))
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in weights) == (variant == "dora")

    tuned = logits(nets[0])
    with nets[0].disable_adapter():
        assert torch.equal(logits(nets[0]), untrained), "the base model is as it was"
    loaded = PeftModel.from_pretrained(in_full_precision(nets[0], tiny_model), tmp_path / "adapter")
    assert (tuned - untrained).abs().max() > 0.1
    torch.testing.assert_close(logits(loaded), tuned, rtol=0.05, atol=0.05)
    torch.testing.assert_close(logits(loaded.merge_and_unload()), tuned, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_starts_from_the_base_models_function(variant: str, tiny_model: Path) -> None:
    base = quantized(tiny_model)
    untrained = logits(base)
    net, _ = lora.add_lora(base, 4, 8, 0.0, variant=variant)
    torch.testing.assert_close(logits(net), untrained, rtol=0.02, atol=0.02)


def test_pissa_trains_the_principal_vectors_and_nothing_else(tiny_model: Path) -> None:
    net, _ = lora.add_lora(quantized(tiny_model), 4, 8, 0.0, variant="pissa")
    layer = next(module for module in net.modules() if isinstance(module, LoraLayer))
    assert isinstance(layer.get_base_layer(), torch.nn.Linear)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    left, values, right = torch.linalg.svd(dequantize_module_weight(layer.get_base_layer()).float())
    principal = left[:, :4] * values[:4] @ right[:4]
    started = layer.scaling["default"] * b[:, :4] @ a[:4]
    assert (started - principal).norm() < 0.05 * principal.norm()
    assert torch.equal(a[:4], a[4:]) and torch.equal(b[:, :4], -b[:, 4:])
    net.train()
    net(input_ids=IDS, labels=IDS).loss.backward()
    assert a.grad is not None and b.grad is not None
    assert a.grad[:4].abs().min() > 0 and not a.grad[4:].any()
    assert b.grad[:, :4].abs().max() > 0 and not b.grad[:, 4:].any()


def test_the_vectors_of_large_weights_are_close_to_exact() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn((600, 40), generator=generator) @ torch.randn((40, 700), generator=generator)
    weight += 0.5 * torch.randn((600, 700), generator=generator)
    torch.manual_seed(2)
    left, values, right = principal_vectors(weight, 16)
    exact = torch.linalg.svd(weight)
    torch.testing.assert_close(values, exact.S[:16], rtol=0.01, atol=0.0)
    principal = exact.U[:, :16] * exact.S[:16] @ exact.Vh[:16]
    assert (left * values @ right - principal).norm() < 0.1 * principal.norm()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_is_the_uninterrupted_one(
    variant: str, tiny_model: Path, tiny_tokenizer: Any, rows: Any, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"validation": [], "every": 0.0, "variant": variant}
    whole, events = run(quantized(tiny_model), tiny_tokenizer, rows, tmp_path / "whole", **settings)
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    resume = checkpoint, load_state(checkpoint, {})
    resumed, later = run(quantized(tiny_model), tiny_tokenizer, rows, tmp_path / "again", resume=resume, **settings)
    losses = [[event["training_loss"] for event in told if event["type"] == "step"] for told in (events, later)]
    assert losses[1] == losses[0][2:] and len(losses[1]) == 2
    assert resumed == whole


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (
            "qwen3_moe",
            {"variant": "dora", "lora_targets": "experts"},
            "lora_variant = dora does not support lora_targets",
        ),
        ("llama", {"variant": "dora", "checkpointing": True}, "sharded over several GPUs"),
        ("llama", {"variant": "pissa", "rslora": True}, "use_rslora = true"),
        ("llama", {"variant": "pissa", "weight_decay": 0.1}, "weight_decay = 0.1"),
        ("llama", {"variant": "pissa", "rank": 65}, "lora_rank = 65"),
        ("llama", {"variant": "pissa", "rank": 48}, "has only 32 singular vectors"),
    ],
)
def test_what_a_variant_does_not_support_is_refused(
    kind: str, settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_models.save(kind, tmp_path), dtype=torch.float32)
    given: dict[str, Any] = {"rank": 4, "alpha": 8, "dropout": 0.0} | settings
    with pytest.raises(TrainerError) as caught:
        lora.add_lora(base, **given)
    assert caught.value.code == "invalid_input" and says in caught.value.message
