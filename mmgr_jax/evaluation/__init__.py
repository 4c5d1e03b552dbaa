"""How good frozen features are: heads, splits that do not leak, metrics, a report.

The modules of this room know the config: they run encoders, choose what is compared and
write what was found. The rooms in it work on NumPy arrays of all regions, `[r ...]`,
without JAX, but for the heads of two layers and `heads.finetune`.
"""
