"""Pre-trains a model: from a config to a trained state."""
