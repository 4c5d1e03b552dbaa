"""The report as a page: a pure function of report.json, with nothing to download."""
