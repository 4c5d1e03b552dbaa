"""Fits and measures every method on every task, by each protocol and split."""
