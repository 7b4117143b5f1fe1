"""From a training file to padded batches."""
