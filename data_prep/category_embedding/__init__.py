"""Vectors of POI categories, from the POI table alone."""
