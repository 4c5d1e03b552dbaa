"""Saves what a run needs to continue; the only package that imports Orbax."""
