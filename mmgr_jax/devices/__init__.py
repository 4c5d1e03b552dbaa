"""Accelerators and processes: which there are, and which holds what."""
