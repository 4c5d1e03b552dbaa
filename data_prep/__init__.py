"""From raw imagery, POIs and statistics to the records MMGR-JAX trains on."""
