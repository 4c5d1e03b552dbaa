"""Points of interest: from any source of places to categories and metric positions."""
