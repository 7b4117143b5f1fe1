"""Tunebase's inference worker: checks tokens in front of vLLM, and loads adapters on demand."""
