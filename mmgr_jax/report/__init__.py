"""Writes the results of an evaluation as text, as JSON and as a page."""
