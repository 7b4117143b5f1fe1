"""Exports the merged model as GGUF in Q8_0, for llama.cpp and programs based on it.

The `gguf` package provides the writer, the quantizer and the table of names. The rest of llama.cpp's
convert_hf_to_gguf.py (the order of rows in q and k, rope factors, the tokenizer) is implemented here, but only for the
architectures and tokenizers listed in this file: a file that is slightly wrong would load and silently give bad
answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from ..errors import TrainerError

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,  # and SmolLM, SmolLM2
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
ROPES = ("default", "llama3")
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {WORDS % r"\p{N}": "qwen2", WORDS % r"\p{N}{1,3}": "llama-bpe"}
"""Pre-tokenizers: the pattern in tokenizer.json, and llama.cpp's name for it."""
Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
NAME = "model-q8_0.gguf"


def check(base: Path) -> None:
    """Raises TrainerError `invalid_input` if the model cannot be exported correctly. Needs no weights."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(base)
    if config.model_type not in ARCHITECTURES:
        raise _refused(f"a {config.model_type} model cannot be written; {', '.join(ARCHITECTURES)} can.")
    if (rope := config.rope_parameters["rope_type"]) not in ROPES:
        raise _refused(f"the model's rope, {rope}, cannot be written; {', '.join(ROPES)} can.")
    if config.hidden_act != "silu" or "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise _refused(
            "llama.cpp implements this architecture only with silu and full attention, but the model uses others."
        )
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise _refused("llama.cpp implements this architecture without biases, but the model has some.")
    _cut(_described(AutoTokenizer.from_pretrained(base)))


def write(directory: Path, net: Any, tokenizer: Any, shard: int) -> None:
    """Writes the merged model, which is on the CPU, into `directory`: one file, or parts of up to `shard` bytes, of
    which llama.cpp is given the first."""
    config = net.config
    architecture = ARCHITECTURES[config.model_type]
    directory.mkdir()
    writer = gguf.GGUFWriter(directory / NAME, gguf.MODEL_ARCH_NAMES[architecture], split_max_size=shard)
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, config.vocab_size)

    # Two passes over the weights, because the header lists all of them and only one at a time may be in fp32.
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, tensor in _tensors(net, head):
        kind = _kind(tensor)
        shape = gguf.quant_shape_to_byte_shape(tensor.shape, Q8_0) if kind == Q8_0 else tensor.shape
        of = np.dtype(np.uint8 if kind == Q8_0 else np.float32)
        size = math.prod(shape) * of.itemsize
        writer.add_tensor_info(_named(names, name), shape, of, size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in _tensors(net, head):
        writer.write_tensor_data(gguf.quantize(tensor.float().contiguous().numpy(), _kind(tensor)))
    writer.close()


def _kind(tensor: torch.Tensor) -> gguf.GGMLQuantizationType:
    """Q8_0 for matrices; fp32 for norms, biases, and rows that cannot be divided into blocks."""
    return Q8_0 if tensor.dim() == 2 and tensor.shape[1] % 32 == 0 else F32


def _named(names: gguf.TensorNameMap, name: str) -> str:
    if name == "rope_freqs.weight":
        return name
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ValueError(f"GGUF has no name for {name}")
    return found


def _tensors(net: Any, head: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields each weight with transformers' name and GGUF's layout."""
    config = net.config
    for name, tensor in net.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp then uses the embeddings
        if config.model_type == "llama" and ".self_attn." in name and name.split(".")[-2] in ("q_proj", "k_proj"):
            # transformers rotates a head's first half with its second, llama.cpp adjacent pairs.
            count = tensor.shape[0] // head
            tensor = tensor.reshape(count, 2, head // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
        yield name, tensor
    if config.rope_parameters["rope_type"] == "llama3":
        yield "rope_freqs.weight", rope_factors(config.rope_parameters, head)


def rope_factors(rope: dict[str, Any], head: int) -> torch.Tensor:
    """Divisors of Llama 3.1's rope frequencies, as in transformers' `_compute_llama3_parameters`."""
    lengths = 2 * math.pi * rope["rope_theta"] ** (torch.arange(0, head, 2, dtype=torch.float64) / head)
    old, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = ((old / lengths - low) / (high - low)).clamp(0, 1)
    factors: torch.Tensor = 1 / ((1 - smooth) / factor + smooth)
    return factors.float()


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    described = _described(tokenizer)
    added = {token["id"]: token for token in described["added_tokens"]}
    words = {index: word for word, index in described["model"]["vocab"].items()}
    tokens, kinds = list[str](), list[int]()
    for index in range(size):
        if index in added:
            tokens.append(added[index]["content"])
            special = added[index]["special"]
            kinds.append(gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED)
        elif index in words:
            tokens.append(words[index])
            kinds.append(gguf.TokenType.NORMAL)
        else:  # the embeddings have more rows than the tokenizer has tokens
            tokens.append(f"[PAD{index}]")
            kinds.append(gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut(described))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["model"]["merges"]]
    if merges:  # an empty array has no type
        writer.add_token_merges(merges)
    for index, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if index is not None:
            add(index)
    writer.add_add_bos_token(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.get_chat_template())


def _described(tokenizer: Any) -> dict[str, Any]:
    """The content of tokenizer.json."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refused("the model's tokenizer has no tokenizer.json.")
    described: dict[str, Any] = json.loads(backend.to_str())
    return described


def _cut(described: dict[str, Any]) -> str:
    """llama.cpp's name for this tokenizer's pre-tokenizer. Raises TrainerError if it is not a supported one."""
    cutter = described["pre_tokenizer"] or {}
    steps = cutter.get("pretokenizers", [cutter])
    bytewise = steps[-1]
    if described["model"]["type"] == "BPE" and bytewise.get("type") == "ByteLevel" and not bytewise["add_prefix_space"]:
        if len(steps) == 1 and bytewise["use_regex"]:
            return "gpt-2"
        if len(steps) == 2 and bytewise["use_regex"] and steps[0] == {"type": "Digits", "individual_digits": True}:
            return "smollm"
        if len(steps) == 2 and not bytewise["use_regex"] and steps[0].get("behavior") == "Isolated":
            pattern = steps[0].get("pattern", {}).get("Regex")
            if pattern in SPLITS and not steps[0]["invert"]:
                return SPLITS[pattern]
    raise _refused(
        "the model's tokenizer cannot be written; those of SmolLM2, Llama 3, Qwen 2 and 3, and GPT-2's type can."
    )


def _refused(why: str) -> TrainerError:
    return TrainerError(
        "invalid_input", f"export = gguf: {why}", "Remove gguf from export; merged works for all models."
    )
