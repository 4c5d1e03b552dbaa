"""Evaluation of frozen features: heads, splits without leakage, metrics, a report.

The modules of this package know the config: they run encoders, choose what is compared
and write the results. Its subpackages work on NumPy arrays of all regions, `[r ...]`.
They do not use JAX, except for the heads with two layers and `heads.finetune`.
"""
