"""Image encoders that are not trained: their features are computed once and stored."""
