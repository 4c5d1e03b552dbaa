"""What is known of regions: numbers, shares, classes; rasters, polygons, tables."""
