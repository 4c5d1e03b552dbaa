"""A page over a city's embeddings: `python -m mmgr_jax.explore`."""
