"""Routed experts in NF4 compute what the dequantized ones would, and are never all in memory at once."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit
from support import tiny_models
from torch.nn.utils import parametrize
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tunebase_trainer.model import loading, lora, quantization, targets


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_models.save(kind, tmp_path_factory.mktemp(kind)) for kind in tiny_models.MOE}


def experts(net: Any) -> list[tuple[Any, str]]:
    """(module, name) of each fused parameter."""
    paths = [path.rpartition(".") for path, _ in targets.fused_experts(net)]
    return [(net.get_submodule(module), name) for module, _, name in paths]


def dequantized(directory: Path, packed: Any) -> Any:
    """transformers' own NF4 model, whose experts stay in bf16: with the values that the packed ones represent."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", *quantization.KEPT_IN_BF16],
    )
    net = AutoModelForCausalLM.from_pretrained(directory, quantization_config=config, dtype=torch.bfloat16)
    net.config.use_cache = False
    with torch.no_grad():
        for (theirs, name), (ours, _) in zip(experts(net), experts(packed), strict=True):
            assert isinstance(getattr(theirs, name), torch.nn.Parameter), "or there would be nothing to compare with"
            getattr(theirs, name).copy_(getattr(ours, name))
    return net


def learn(net: Any, implementation: str, chosen: str) -> dict[str, torch.Tensor]:
    """The logits, and every gradient, of one batch, with an adapter that is the same for the same shapes."""
    net.set_experts_implementation(implementation)
    torch.manual_seed(3)
    adapted, _ = lora.add_lora(net, 4, 8, 0.0, chosen)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            scale = 0.3 if "lora_B" in name else 0.2
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * scale
    adapted.train()
    ids = torch.randint(3, 300, (2, 9), generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        output = adapted(input_ids=ids, labels=ids)
    output.loss.backward()
    gradients = {name: p.grad for name, p in adapted.named_parameters() if p.requires_grad}
    return {"logits": output.logits.detach(), **gradients}


# Both ways to compute, with and without adapters in the experts; `experts` trains what `all-linear` does, and more.
@pytest.mark.parametrize(
    ("implementation", "chosen"), [("eager", "experts"), ("grouped_mm", "all-linear"), ("grouped_mm", "experts")]
)
@pytest.mark.parametrize("kind", tiny_models.MOE)
@pytest.mark.usefixtures("bf16")
def test_packed_experts_have_the_logits_and_gradients_of_dequantized_ones(
    saved: dict[str, Path], kind: str, implementation: str, chosen: str
) -> None:
    packed, _ = loading.load_quantized(saved[kind])
    reference = dequantized(saved[kind], packed)
    wrong = dequantized(saved[kind], packed)
    with torch.no_grad():
        module, name = experts(wrong)[0]
        getattr(module, name).mul_(1.05)
    found = learn(packed, implementation, chosen)
    expected = learn(reference, implementation, chosen)
    assert set(found) == set(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    control = learn(wrong, implementation, chosen)
    off = [name for name in found if not torch.allclose(found[name], control[name], rtol=1e-5, atol=1e-6)]
    assert "logits" in off and len(off) > len(found) / 2, "experts that are 5 % off must be noticed"


def test_packing_experts_one_by_one_equals_bitsandbytes_quantization() -> None:
    fused = torch.randn(6, 64, 32, dtype=torch.bfloat16)
    data, state = bnb.quantize_4bit(fused, blocksize=64, compress_statistics=True, quant_type="nf4")
    packed: Any = quantization.pack(list(fused.unbind(0)))
    assert torch.equal(packed.data, data)
    expected, found = state.as_dict(packed=True), packed.quant_state.as_dict(packed=True)
    assert set(found) == set(expected) == {part.removeprefix(".") for part in quantization.STATE if part}
    torch.testing.assert_close(bnb.dequantize_4bit(packed.data, packed.quant_state), bnb.dequantize_4bit(data, state))


def alive(shapes: set[tuple[int, ...]]) -> int:
    """Bytes of all tensors of these shapes in bf16, each storage once."""
    found = {}
    for thing in gc.get_objects():
        if type(thing) not in (torch.Tensor, torch.nn.Parameter) or thing.device.type != "cpu":
            continue
        if thing.dtype == torch.bfloat16 and tuple(thing.shape) in shapes:
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(found.values())


def test_gates_and_the_output_projection_stay_in_bf16(saved: dict[str, Path]) -> None:
    net, _ = loading.load_quantized(saved["qwen3_next"])
    plain = {path.split(".")[-1] for path, module in net.named_modules() if type(module) is torch.nn.Linear}
    packed = {path.split(".")[-1] for path, module in net.named_modules() if isinstance(module, Linear4bit)}
    assert plain == {"in_proj_ba", "shared_expert_gate", "lm_head"}
    assert {"q_proj", "in_proj_qkvz", "out_proj", "gate_proj", "down_proj"} <= packed


def test_more_values_than_bitsandbytes_can_count_are_refused() -> None:
    on_meta = [torch.empty(2**15, 2**14, device="meta", dtype=torch.bfloat16) for _ in range(4)]
    with pytest.raises(ValueError, match="exceed bitsandbytes' limit"):
        quantization.pack(on_meta)


@pytest.mark.parametrize("kind", tiny_models.MOE)
@pytest.mark.usefixtures("bf16")
def test_no_more_than_one_layers_experts_are_in_bf16_while_a_model_is_loaded(
    saved: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 8 * 32
    shapes = {(32, 64), (64, 32), (64, 64), (8, 32, 64), (8, 64, 64), (8, 64, 32)}
    layer = 3 * rows * 64 * 2  # bytes of gate, up and down of 8 experts
    gc.collect()
    gc.freeze()  # existing objects are not searched at every weight
    before, peak, calls, quantize = alive(shapes), 0, 0, bnb.quantize_4bit

    def counting(weight: torch.Tensor, **more: Any) -> Any:
        nonlocal peak, calls
        calls += 1
        peak = max(peak, alive(shapes) - before)
        return quantize(weight, **more)

    monkeypatch.setattr(bnb, "quantize_4bit", counting)
    net, _ = loading.load_quantized(saved[kind])
    attention = 2 * 64 * 64 * 2  # a q_proj or o_proj that is being quantized has the shape of an expert
    layers = net.config.num_hidden_layers
    assert calls >= layers * 2 * 8, "each expert was packed for itself"
    assert 0 < peak <= layer + attention
    assert alive(shapes) - before < layer / 2, "and none is left afterwards"

    # The counter counts: transformers' own loader keeps them all.
    left = dequantized(saved[kind], net)
    assert alive(shapes) - before >= layers * layer
    del left


def test_training_with_checkpointing_keeps_nothing_from_step_to_step(saved: dict[str, Path]) -> None:
    base, _ = loading.load_quantized(saved["qwen3_next"])
    net, _ = lora.add_lora(base, 4, 8, 0.05)
    net.train()
    assert base.is_gradient_checkpointing
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    ids = torch.randint(3, 300, (2, 16))
    held = []
    for _ in range(6):
        net(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        gc.collect()
        assert parametrize._cache_enabled == 0 and not parametrize._cache
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        held.append((len(tensors), alive({(8, 64, 64), (8, 64, 32)})))
        del tensors
    assert held[1:] == held[1:2] * 5
    assert held[-1][1] == 0, "no dequantized experts between steps"


def test_experts_that_are_fused_on_disk_are_packed_too(saved: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    whole = AutoModelForCausalLM.from_pretrained(saved["qwen3_moe"], dtype=torch.bfloat16)
    whole.config.save_pretrained(tmp_path)
    save_file(
        {name: tensor.contiguous() for name, tensor in whole.state_dict().items()},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    fused, single = loading.load_quantized(tmp_path)[0], loading.load_quantized(saved["qwen3_moe"])[0]
    ids = torch.arange(3, 20)[None]
    assert torch.equal(fused(input_ids=ids).logits, single(input_ids=ids).logits)


def test_weights_of_multi_token_prediction_are_ignored(saved: dict[str, Path], tmp_path: Path) -> None:
    """Qwen3-Next's checkpoints have them, routed experts among them; transformers' model has no place for them."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(saved["qwen3_next"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    last = {name: weight for name, weight in weights.items() if name.startswith("model.layers.3.")}
    extra = {name.replace("model.", "mtp.", 1): weight + 1 for name, weight in last.items()}
    assert any(".experts.7." in name for name in extra)
    save_file(weights | extra, tmp_path / "model.safetensors", {"format": "pt"})
    with_extra, without = loading.load_quantized(tmp_path)[0], loading.load_quantized(saved["qwen3_next"])[0]
    ids = torch.arange(3, 20)[None]
    assert torch.equal(with_extra(input_ids=ids).logits, without(input_ids=ids).logits)
    assert with_extra.state_dict().keys() == without.state_dict().keys()


def test_a_model_whose_files_lack_weights_is_not_filled_with_random_ones(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(saved["qwen3_moe"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(RuntimeError, match=r"1 weights are not in .*: model\.norm\.weight"):
        loading.load_quantized(tmp_path)


@pytest.mark.parametrize("kind", tiny_models.MOE)
def test_the_frozen_routers_loss_is_off(saved: dict[str, Path], kind: str) -> None:
    net, _ = loading.load_quantized(saved[kind])
    ids = torch.arange(3, 20)[None]
    output = net(input_ids=ids, labels=ids)
    assert output.aux_loss is None and output.router_logits is None
    assert torch.equal(net(input_ids=ids, labels=ids, output_router_logits=True).loss, output.loss), "nor if asked for"
