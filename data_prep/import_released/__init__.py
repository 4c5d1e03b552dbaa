"""The folders of the released MMGR sample, taken over as records.

The sample has one image, one tensor of POI vectors and one tensor of POI edges a
region, numbers in text files, and lists of names:

    sub_shanghai_img/X.png                 the tile
    sub_shanghai_emb/X.tensor              float32 [n 64], a row a POI
    sub_shanghai_edge/X.tensor             int64 [2 e], pairs of POIs
    pop1km/X.txt                           one number
    train-wuhan.txt, val-wuhan.txt         one name a line

What the sample does not say, the records do not pretend to know:

    where a POI stands     every offset is 0
    how long an edge is    every edge weighs 1
    where a region lies    its outline is an empty polygon, the CRS of the records is
                           "" and every region is a spatial block of its own: who its
                           neighbours are is unknown, so splits by block are random
                           splits. A table of centres and the side of a tile in metres
                           give outlines and blocks.
    how large a tile is    its side is 0 m, unless the config names it
"""
