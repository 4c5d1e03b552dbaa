"""Aerial and satellite images as one image on the study area's pixel grid.

`mosaic.Imagery` reads tiles; `paths` finds the files, `headers` knows what they say of
themselves and `declared` what the config says in their place, `placement` how they lie
on the grid, `reader` holds them open, `stretch` makes 8 bits of more, and `blank` finds
tiles that show nothing.
"""
