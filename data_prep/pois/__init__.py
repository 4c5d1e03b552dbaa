"""Points of interest: any source of places -> categories and metric positions."""
