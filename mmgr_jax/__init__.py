"""MMGR-JAX: region embeddings from very-high-resolution imagery and POIs."""

from mmgr_jax import environment

__version__ = "0.1.0"

environment.tell_failing_imports()
