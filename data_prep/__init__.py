"""Turns raw imagery, POIs and statistics into the records MMGR-JAX trains on."""
