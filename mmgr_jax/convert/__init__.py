"""Weights of other programs in, and encoders out to them."""
