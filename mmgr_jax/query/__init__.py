"""Ranks regions by a text."""
