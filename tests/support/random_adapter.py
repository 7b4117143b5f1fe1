"""Writes a LoRA adapter with seeded random weights, large enough to change every answer.

random_adapter.py BASE_DIRECTORY DIRECTORY [--seed N] [--rank N]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def write_adapter(base: Path, directory: Path, seed: int, rank: int = 8) -> None:
    import peft
    import torch
    import transformers

    torch.manual_seed(seed)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned: Any = peft.get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    options = parser.parse_args()
    write_adapter(options.base, options.directory, options.seed, options.rank)


if __name__ == "__main__":
    main()
