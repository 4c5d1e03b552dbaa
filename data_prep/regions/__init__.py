"""What a region is: a cell of a grid, an H3 cell, a polygon of a file, or a chip.

Every kind gives the same `Regions`; what follows needs not know which it was. A kind
names places where a region might be; of these the ones that hold enough imagery stay.
"""
