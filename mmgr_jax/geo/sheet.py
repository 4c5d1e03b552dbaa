"""The layout of a printed map on paper: positions in inches, and the scale."""

import dataclasses

import numpy as np
import pyproj
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANELS = 3
PANEL_WIDTH = 4.0
PANEL_HEIGHTS = (1.6, 6.4)  # whatever the shape of the city
GAP = 0.25
MARGIN = 0.3
TITLE = 0.78  # title and panel titles
LINE = 0.2  # a line below the title
FOOTER = 0.6
BLEED = 0.985  # share of a panel that the city may fill


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Three panels in a row, with a title above, and a legend and a footer below.

    Attributes:
        panel_height: Height of each panel.
        key_height: Height of the strip for colour bars and legends.
        inches_per_m: Scale of all panels.
        metre: Number of metres in one unit of the CRS.
        centre: Middle of each panel in the CRS.
        num_lines: Lines below the title.
    """

    panel_height: float
    key_height: float
    inches_per_m: float
    metre: float
    centre: tuple[float, float]
    num_lines: int = 0

    @property
    def width(self) -> float:
        """Width of the figure."""
        return PANELS * PANEL_WIDTH + (PANELS - 1) * GAP + 2 * MARGIN

    @property
    def height(self) -> float:
        """Height of the figure."""
        top = TITLE + LINE * self.num_lines
        return top + self.panel_height + self.key_height + FOOTER

    def left(self, panel: int) -> float:
        """Left edge of a panel."""
        return MARGIN + panel * (PANEL_WIDTH + GAP)

    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The area that a panel shows: (west, east), (south, north) in the CRS."""
        per_inch = 1 / (self.inches_per_m * self.metre)
        half_width = PANEL_WIDTH / 2 * per_inch
        half_height = self.panel_height / 2 * per_inch
        x, y = self.centre
        return (x - half_width, x + half_width), (y - half_height, y + half_height)


def lay_out(
    geometry: np.ndarray, crs: pyproj.CRS, key_height: float, num_lines: int = 0
) -> Sheet:
    """Makes the sheet on which the regions fill the panels."""
    west, south, east, north = shapely.total_bounds(geometry).tolist()
    metre = crs.axis_info[0].unit_conversion_factor
    width_m, height_m = (east - west) * metre, (north - south) * metre
    panel_height = float(np.clip(PANEL_WIDTH * height_m / width_m, *PANEL_HEIGHTS))
    return Sheet(
        panel_height=panel_height,
        key_height=key_height,
        inches_per_m=BLEED * min(PANEL_WIDTH / width_m, panel_height / height_m),
        metre=metre,
        centre=((west + east) / 2, (south + north) / 2),
        num_lines=num_lines,
    )


def add_axes(
    figure: Figure,
    sheet: Sheet,
    *,
    left: float = 0.0,
    bottom: float = 0.0,
    width: float | None = None,
    height: float | None = None,
) -> Axes:
    """Adds axes at a place on the sheet, or on the whole sheet if no place is given."""
    width = sheet.width if width is None else width
    height = sheet.height if height is None else height
    return figure.add_axes(
        (
            left / sheet.width,
            bottom / sheet.height,
            width / sheet.width,
            height / sheet.height,
        )
    )
