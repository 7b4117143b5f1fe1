"""Tiny random models of every architecture in the table, saved as real checkpoints are: one tensor an expert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KINDS: dict[str, dict[str, Any]] = {
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "smollm3": {},
    "mixtral": {"intermediate_size": 32, "num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen3_moe": {**EXPERTS},
    # Three layers of linear attention, then one of full.
    "qwen3_next": {
        **EXPERTS,
        "num_hidden_layers": 4,
        "shared_expert_intermediate_size": 48,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
}
MOE = ("mixtral", "qwen3_moe", "qwen3_next")


def config(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{**SIZES, **KINDS[kind], **changes})


def save(kind: str, path: Path, **changes: Any) -> Path:
    """Saves a random model of this kind, always the same; returns `path`."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config(kind, **changes), dtype=torch.float32)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:  # larger than at initialization, so that each part matters to the logits
                parameter.normal_(0, 0.1)
    net.to(torch.bfloat16).save_pretrained(path)
    return path
