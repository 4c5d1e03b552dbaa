"""Accelerators and processes: which ones exist, and what each of them holds."""
