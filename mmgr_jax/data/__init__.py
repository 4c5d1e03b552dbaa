"""Records, point-of-interest sets and the input pipeline: NumPy and Grain, no JAX."""
