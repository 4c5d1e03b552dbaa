"""Where the sun stands, and how shadows fall by it."""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely
from jaxtyping import Float

from data_prep.toy_city.area import Points
from data_prep.toy_city.geometry import discs
from data_prep.toy_city.settings import AZIMUTH_DEG, ELEVATION_DEG


@dataclasses.dataclass(frozen=True)
class Sun:
    """The sun's place in the sky.

    Attributes:
        azimuth_deg: Clockwise from north.
        elevation_deg: Above the horizon.
    """

    azimuth_deg: float = AZIMUTH_DEG
    elevation_deg: float = ELEVATION_DEG

    @property
    def shadow_per_m(self) -> Float[np.ndarray, " 2"]:
        """Metres of shadow, east and north, a metre of height, to the millimetre."""
        azimuth = np.radians(self.azimuth_deg)
        direction = -np.array([np.sin(azimuth), np.cos(azimuth)])
        return np.round(direction / np.tan(np.radians(self.elevation_deg)), 3)

    @property
    def stretch(self) -> float:
        """How much longer shadows are than under the default sun."""
        default = np.tan(np.radians(ELEVATION_DEG))
        return float(default / np.tan(np.radians(self.elevation_deg)))

    def turned(self, offset_m: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 2"]:
        """Turns an offset drawn for the default sun by the same angle as the sun."""
        angle = np.radians(self.azimuth_deg - AZIMUTH_DEG)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array([[cos, sin], [-sin, cos]]) @ offset_m

    def crown_shadows(
        self,
        middle: Points,
        radius_m: Float[np.ndarray, " m"],
        offset_m: Float[np.ndarray, " 2"],
    ) -> np.ndarray:
        """Shadows of round crowns; a lower sun draws them out [m].

        Args:
            middle: Middles of the crowns.
            radius_m: Their radii.
            offset_m: From a crown to its shadow under the default sun.
        """
        offset_m = self.turned(offset_m)
        near = discs(middle + min(self.stretch, 1.0) * offset_m, radius_m)
        if self.stretch <= 1:
            return near
        far = discs(middle + self.stretch * offset_m, radius_m)
        corners = [shapely.get_coordinates(p).reshape(-1, 9, 2) for p in (near, far)]
        points = shapely.multipoints(np.concatenate(corners, 1))
        return np.asarray(shapely.convex_hull(points))
