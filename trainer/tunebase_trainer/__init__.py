"""The RunPod worker behind Tunebase: LoRA fine-tuning of open models."""
