"""Makes a page that shows a city's embeddings: `python -m mmgr_jax.explore`."""
