"""How fast the training is, against a peer or a limit in the same run: `python -m tunebase_trainer.bench --help`."""
