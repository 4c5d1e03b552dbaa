"""Results with coordinates: GeoParquet tables and printed maps."""
