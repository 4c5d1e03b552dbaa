"""MMGR-JAX: region embeddings from very-high-resolution imagery and POIs."""

__version__ = "0.1.0"
