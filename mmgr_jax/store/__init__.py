"""Saves a run so that it can be continued; only this package imports Orbax."""
