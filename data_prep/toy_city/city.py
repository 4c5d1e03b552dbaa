"""The whole city before anything is painted or written."""

from __future__ import annotations

import dataclasses
import logging

from data_prep.toy_city import paint, scene, season, sensing, texture
from data_prep.toy_city.area import Area
from data_prep.toy_city.buildings import Built, make_built
from data_prep.toy_city.layout import StreetLayout, make_layout
from data_prep.toy_city.places import Places, make_places
from data_prep.toy_city.settings import PoiHabitSettings, ToyCitySettings
from data_prep.toy_city.sun import Sun
from data_prep.toy_city.zoning import Uses, make_urbanity, make_uses

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class GeneratedCity:
    """The city that a seed gives in an area.

    Attributes:
        area: The mosaic's rectangle.
        seed: Seed of everything.
        layout: Blocks and streets.
        uses: Zones and latents of the blocks.
        built: Buildings and open lots.
        places: Places (POIs).
    """

    area: Area
    seed: int
    layout: StreetLayout
    uses: Uses
    built: Built
    places: Places

    def painter(self, settings: ToyCitySettings) -> paint.Painter:
        """What paints the mosaic by a palette and under difficulties."""
        area, seed, blocks = self.area, self.seed, self.layout.blocks
        sun = Sun(settings.sun_azimuth_deg, settings.sun_elevation_deg)
        return paint.Painter(
            area,
            scene.make_layers(
                seed,
                self.layout,
                self.uses,
                self.built,
                sun,
                settings.palette,
                settings.flight,
            ),
            blocks.polygon,
            scene.make_grain(seed, blocks, self.uses),
            texture.make_textures(seed, area.gsd_m, settings.flight),
            sensing.make_sensing(area, seed, settings),
            season.make_dates(area, seed, settings.season, settings.season_strips_m),
        )


def make_city(
    area: Area, seed: int, habits: PoiHabitSettings | None = None
) -> GeneratedCity:
    """Lays out, builds and fills a city, by habits other than the plain city's."""
    urbanity = make_urbanity(area, seed)
    layout = make_layout(area, seed, urbanity)
    uses = make_uses(area, seed, layout.blocks, urbanity)
    _log.info("toy city: %d blocks laid out", len(uses.zone))
    built = make_built(seed, layout, uses)
    _log.info("toy city: %d buildings", len(built.roofs.block))
    places = make_places(seed, layout.blocks, uses, built, habits or PoiHabitSettings())
    _log.info("toy city: %d places", len(places.block))
    return GeneratedCity(area, seed, layout, uses, built, places)
