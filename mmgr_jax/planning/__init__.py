"""Estimates from the compiled step what a run would cost on another machine."""
