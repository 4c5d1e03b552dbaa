"""Writes the report as a page: a pure function of report.json, without downloads."""
