"""The worker's side of an attempt: claim, callbacks, transfers, the training process."""
