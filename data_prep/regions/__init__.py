"""Makes regions from cells of a grid, H3 cells, polygons of a file, or chips.

Every kind gives the same `Regions`, so later code does not need to know the kind. Each
kind names places where a region might be; the places with enough imagery stay.
"""
