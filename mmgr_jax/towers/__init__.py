"""Image encoders that learn nothing: their features, made once and kept."""
