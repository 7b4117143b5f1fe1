"""What is trained of each architecture, counted by hand; and adapters load where only transformers and PEFT are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support import tiny_models
from support.paths import SUPPORT
from transformers import AutoConfig, AutoModelForCausalLM

from tunebase_trainer.errors import TrainerError
from tunebase_trainer.model import loading, lora, targets
from tunebase_trainer.worker.process import training_environment

# in + out of the tiny models' matrices: hidden 64, 4 heads of 16 with 2 for keys and values, MLP 96.
ATTENTION = 2 * (64 + 64) + 2 * (64 + 32)
DENSE_LAYER = ATTENTION + 3 * (64 + 96)
# Qwen3-Next: q_proj has the gate too; in_proj_qkvz: 2 key heads of 16 (q and k), 4 value heads of 16 (v and z).
NEXT_FULL = ATTENTION + 64
NEXT_LINEAR = (64 + 2 * 32 + 2 * 64) + (64 + 64)
BY_HAND = {
    **{kind: 2 * DENSE_LAYER for kind in tiny_models.KINDS},
    "mixtral": 2 * ATTENTION,
    "qwen3_moe": 2 * ATTENTION,
    "qwen3_next": 3 * NEXT_LINEAR + NEXT_FULL,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """kind → the directory of its tiny model."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_models.save(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def test_the_table_and_the_tests_name_the_same_architectures() -> None:
    assert set(targets.FAMILIES) == set(tiny_models.KINDS)


class StockProcess:
    """A process with transformers and PEFT alone, which the module's tests share."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=training_environment()
        )

    def load(self, base: Path, adapter: Path) -> str:
        """`loaded KIND`, or what went wrong."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{base}\t{adapter}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def stock(trainings_are_forks: Callable[[Path], list[str]]) -> Iterator[StockProcess]:
    process = StockProcess(trainings_are_forks(SUPPORT / "stock_peft.py"))
    yield process
    process.close()


def trained(directory: Path, adapter: Path, lora_targets: str = "all-linear", dropout: float = 0.05) -> int:
    """Saves an adapter with nonzero weights, and its logits for some ids; returns the number of trained parameters."""
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    net, trainable = lora.add_lora(base, 4, 8, dropout, lora_targets)
    assert all("lora_" in name for name, p in net.named_parameters() if p.requires_grad), "the router too is frozen"
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    ids = torch.randint(3, 300, (2, 9))
    net.eval()
    with torch.no_grad():
        logits = net(input_ids=ids).logits
    lora.save_adapter(net, adapter, str(directory), None)
    save_file({"input_ids": ids, "logits": logits}, adapter / "given.safetensors")
    return trainable


@pytest.mark.parametrize("kind", tiny_models.KINDS)
def test_an_adapter_with_default_targets_has_the_expected_parameters_and_loads_in_stock_peft(
    saved: Any, stock: StockProcess, tmp_path: Path, kind: str
) -> None:
    assert trained(saved(kind), tmp_path) == 4 * BY_HAND[kind]
    assert stock.load(saved(kind), tmp_path) == f"loaded {kind}"


@pytest.mark.parametrize("kind", tiny_models.MOE)
def test_an_adapter_for_routed_experts_loads_in_stock_peft(
    saved: Any, stock: StockProcess, tmp_path: Path, kind: str
) -> None:
    trained(saved(kind), tmp_path, "experts", dropout=0.0)
    assert stock.load(saved(kind), tmp_path) == f"loaded {kind}"


def test_the_stock_process_detects_an_adapter_that_differs_from_the_trained_one(
    saved: Any, stock: StockProcess, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    trained(saved("llama"), tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    name = next(name for name in weights if "q_proj.lora_B" in name)
    save_file(weights | {name: weights[name] * 1.1}, tmp_path / "adapter_model.safetensors")
    assert "Tensor-likes are not close" in stock.load(saved("llama"), tmp_path)


def test_attention_only_can_be_requested(saved: Any) -> None:
    base = AutoModelForCausalLM.from_pretrained(saved("llama"), dtype=torch.float32)
    assert lora.add_lora(base, 4, 8, 0.0, "attention")[1] == 4 * 2 * ATTENTION


def test_the_shared_expert_is_trained_on_request_on_the_quantized_base(saved: Any) -> None:
    base, _ = loading.load_quantized(saved("qwen3_next"))
    net, trainable = lora.add_lora(base, 4, 8, 0.05, "shared_expert")
    assert trainable == 4 * (BY_HAND["qwen3_next"] + 4 * 3 * (64 + 48))
    assert not any(".experts." in name for name, p in net.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", tiny_models.MOE)
def test_routed_experts_are_trained_on_request(saved: Any, kind: str) -> None:
    base, _ = loading.load_quantized(saved(kind))
    net, trainable = lora.add_lora(base, 8, 16, 0.0, "experts")
    layers = base.config.num_hidden_layers
    assert trainable == 8 * BY_HAND[kind] + layers * 8 * 2 * ((64 + 64) + (64 + 32))
    ids = torch.randint(3, 300, (2, 9))
    net.train()
    net(input_ids=ids, labels=ids).loss.backward()
    touched = [p.grad.abs().max() > 0 for n, p in net.named_parameters() if "experts" in n and "lora_B" in n]
    assert len(touched) == layers * 2 and all(touched)


@pytest.mark.parametrize("choice", ["all-linear", "shared_expert", "experts"])
@pytest.mark.parametrize("how", ["a checkpoint", "an earlier fine-tune"])
def test_training_continues_from_an_adapter_with_any_targets(saved: Any, tmp_path: Path, choice: str, how: str) -> None:
    def adapted(seed: int) -> Any:
        base, _ = loading.load_quantized(saved("qwen3_next"))
        net, _ = lora.add_lora(base, 4, 8, 0.0, choice)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0, 0.3)
        return net.eval()

    earlier, later = adapted(1), adapted(2)
    ids = torch.arange(3, 20)[None]
    expected = earlier(input_ids=ids).logits
    assert not torch.equal(later(input_ids=ids).logits, expected)
    lora.save_adapter(earlier, tmp_path, "tiny", None)
    if how == "a checkpoint":
        later.load_adapter(tmp_path, "default", is_trainable=True)  # what transformers' Trainer does
    else:
        lora.load_earlier_adapter(later, tmp_path)
    later.eval()
    assert torch.equal(later(input_ids=ids).logits, expected)


@pytest.mark.parametrize(
    ("kind", "choice", "dropout", "says"),
    [
        ("llama", "experts", 0.0, "Use one of all-linear, attention."),
        ("qwen3_moe", "shared_expert", 0.0, "Use one of all-linear, attention, experts."),
        ("qwen3_next", "everything", 0.0, "Use one of all-linear, attention, shared_expert, experts."),
        ("qwen3_next", "experts", 0.05, "Use lora_dropout = 0, or lora_targets = all-linear."),
    ],
)
def test_unsupported_targets_are_rejected_with_the_supported_ones(
    saved: Any, kind: str, choice: str, dropout: float, says: str
) -> None:
    base = AutoModelForCausalLM.from_pretrained(saved(kind), dtype=torch.float32)
    with pytest.raises(TrainerError) as caught:
        lora.add_lora(base, 4, 8, dropout, choice)
    assert caught.value.code == "invalid_input" and caught.value.hint == says


def test_an_unknown_architecture_trains_its_attention_or_is_rejected_without_one() -> None:
    def resolve(kind: str, **sizes: Any) -> targets.Targets:
        with torch.device("meta"):
            return targets.resolve(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)), "all-linear")

    assert resolve("olmo2", num_hidden_layers=1).modules == ("k_proj", "o_proj", "q_proj", "v_proj")
    with pytest.raises(TrainerError, match="mamba, is not supported"):
        resolve("mamba", num_hidden_layers=1)


def test_the_true_shape_of_the_80b_model_trains_what_the_readme_says() -> None:
    """Qwen3-Next-80B-A3B: transformers' default configuration is its. Millions, at rank 16."""
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3_next"), dtype=torch.bfloat16)

    def millions(choice: str) -> float:
        return round(targets.expected_parameters(net, targets.resolve(net, choice), 16) / 1e6, 1)

    assert millions("attention") == 15.9  # the linear attention is attention
    assert millions("shared_expert") == 21.8
    assert sum(shape.numel() for _, shape in targets.fused_experts(net)) == 48 * 512 * 3 * 512 * 2048


def test_a_saved_adapter_names_no_target_that_stock_peft_would_rewrite(saved: Any, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(saved("qwen3_next"), dtype=torch.float32)
    lora.save_adapter(lora.add_lora(base, 4, 8, 0.05)[0], tmp_path, "tiny", None)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == sorted(targets.FAMILIES["qwen3_next"].attention)
    assert not config["target_parameters"]
