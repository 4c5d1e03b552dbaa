"""Finds accelerators and processes, and decides which of them holds what."""
