"""Measures an adapter: the validation loss while it trains, and a comparison with the base model at the end."""
