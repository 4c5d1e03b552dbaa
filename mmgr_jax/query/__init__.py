"""Regions ranked by a text."""
