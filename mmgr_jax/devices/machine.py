"""What machine this is."""

import jax


def num_accelerators() -> int:
    """GPUs or TPU cores that JAX sees from this process; 0: it computes on the CPU."""
    return 0 if jax.default_backend() == "cpu" else len(jax.devices())
