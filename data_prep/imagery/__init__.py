"""Aerial and satellite images as one image on the study area's pixel grid.

`Imagery` reads tiles; `paths` finds the files, `headers` knows what they say of
themselves and `declared` what the config says in their place, `placement` how they lie
on the grid, `reader` holds them open, `stretch` makes 8 bits of more, and `blank` finds
tiles that show nothing.
"""

from data_prep.files.formats import unreadable
from data_prep.imagery.blank import blank_share
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.paths import expand
from data_prep.imagery.placement import Bounds, ImageFile

__all__ = ["Bounds", "ImageFile", "Imagery", "blank_share", "expand", "unreadable"]
