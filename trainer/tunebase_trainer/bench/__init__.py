"""Benches of the trainer. `python -m tunebase_trainer.bench --help` names them."""
