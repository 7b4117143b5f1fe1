"""Loads adapters without the trainer, like their users: a line of standard input has a base and an adapter."""

import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

for line in sys.stdin:
    base, adapter = line.rstrip().split("\t")
    try:
        net = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
        given = load_file(Path(adapter) / "given.safetensors")
        with torch.no_grad():
            found = net(input_ids=given["input_ids"]).logits
            with net.disable_adapter():
                plain = net(input_ids=given["input_ids"]).logits
        torch.testing.assert_close(found, given["logits"], rtol=1e-4, atol=1e-4)
        assert (plain - found).abs().max() > 0.05, "the adapter does nothing"
        assert "tunebase_trainer" not in sys.modules
        print("loaded", net.base_model.model.config.model_type, flush=True)
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0], flush=True)
