"""Measures an adapter: validation loss, sample answers."""
