"""Flax Linen modules: the only package that imports flax.linen."""
