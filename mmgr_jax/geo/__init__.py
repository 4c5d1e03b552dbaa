"""Writes results with coordinates, such as GeoParquet tables and printed maps."""
