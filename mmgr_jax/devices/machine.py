"""Describes the machine that the program runs on."""

import jax


def num_accelerators() -> int:
    """Returns the number of GPUs or TPU cores that JAX sees; 0 if it uses the CPU."""
    return 0 if jax.default_backend() == "cpu" else len(jax.devices())
