"""Imports the folders of the released MMGR sample as records.

For each region, the sample has one image, one tensor of POI vectors, one tensor of POI
edges, and a number of people in a text file:

    sub_*_img/X.png           the tile, square, all of one size
    sub_*_emb/X.tensor        float32 [n 64], a row a POI
    sub_*_edge/X.tensor       int64 [2 e], pairs of POIs
    pop1km/X.txt              one number; a region without a file has no value

The records mark as unknown what the sample does not say:

    where a POI stands     every offset is 0
    how long an edge is    every edge weighs 1
    where a region lies    its outline is an empty polygon, the CRS of the records is
                           "" and every region is a spatial block of its own: who its
                           neighbours are is unknown, so splits by block are random
                           splits
    how large a tile is    its side is 0 m
"""
