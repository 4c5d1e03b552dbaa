"""Labels of regions (numbers, shares, classes) from rasters, polygons and tables."""
