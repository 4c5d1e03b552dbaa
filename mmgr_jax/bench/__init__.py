"""Measurements beside peers: `python -m mmgr_jax.bench SECTION`."""
