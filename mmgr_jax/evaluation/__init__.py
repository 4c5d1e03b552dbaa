"""How good frozen features are: heads, splits that do not leak, metrics, a report.

Everything here works on NumPy arrays of all regions, `[r ...]`, without JAX, but
for `features`, which runs the encoders.
"""
