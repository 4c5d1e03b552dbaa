"""Records, POI sets and the input pipeline; it uses NumPy and Grain, but not JAX."""
