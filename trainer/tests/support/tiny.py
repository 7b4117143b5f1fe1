"""A model of random weights that trains in a moment, and a tokenizer that needs no package and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# As SmolLM2's and Qwen's: every turn between <|im_start|> and <|im_end|>.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> Any:
    """One token a byte, and the two that mark turns."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_model(path: Path, tokenizer: Any) -> Path:
    """Saves a random Llama, hidden 64, two layers, always the same, with this tokenizer; returns `path`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def rows(count: int) -> str:
    """`count` rows of chat, as JSON lines, of several lengths."""
    import json

    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"{'very ' * (n % 5)}short question {n}"},
                    {"role": "assistant", "content": f"answer {n} of {n * n}"},
                ]
            }
        )
        + "\n"
        for n in range(1, count + 1)
    )


def pairs(count: int) -> str:
    """`count` preference rows, as JSON lines: of two answers of several lengths the one that begins with yes."""
    import json

    return "".join(
        json.dumps(
            {
                "input": {"messages": [{"role": "user", "content": f"{'very ' * (n % 5)}short question {n}"}]},
                "preferred_output": [{"role": "assistant", "content": f"yes {'sure ' * (n % 3)}{n}"}],
                "non_preferred_output": [{"role": "assistant", "content": f"no {'never ' * (n % 4)}{n * n}"}],
            }
        )
        + "\n"
        for n in range(1, count + 1)
    )
