"""Aerial and satellite images as one image on the study area's pixel grid.

`Imagery` reads tiles; `headers` knows what files say of themselves, `placement` how
they lie on the grid, `reader` holds them open, `stretch` makes 8 bits of more, and
`blank` finds tiles that show nothing.
"""

from data_prep.imagery.blank import blank_share
from data_prep.imagery.headers import expand, unreadable
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.placement import Bounds, ImageFile

__all__ = ["Bounds", "ImageFile", "Imagery", "blank_share", "expand", "unreadable"]
