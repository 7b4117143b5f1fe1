"""The base model, its quantization, and the adapter on it."""
