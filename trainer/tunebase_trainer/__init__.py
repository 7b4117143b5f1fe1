"""The RunPod worker behind Tunebase: LoRA fine-tuning of open models."""

# Written by `deno task types`, from deno.json.
__version__ = "0.1.0"
