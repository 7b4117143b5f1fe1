"""The artifact besides the adapter's weights: model card, loss curve, merged weights, GGUF."""
