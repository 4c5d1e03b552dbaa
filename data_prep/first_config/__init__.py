"""The first config of a city, filled in by asking its files."""
