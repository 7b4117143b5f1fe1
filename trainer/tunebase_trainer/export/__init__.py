"""The rest of the artifact, in addition to the adapter's weights: model card, loss curve, merged weights, GGUF."""
