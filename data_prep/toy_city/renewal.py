"""The same city in a later year: some blocks rebuilt or given another use.

Both years are whole cities on one street plan, drawn with two seeds. Each block, with
its picture, places and numbers, is taken from one of the two cities. So all other
blocks are the same to the pixel, except for differences between the two flights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from data_prep.toy_city.area import Area, random_stream
from data_prep.toy_city.buildings import Built, Footprints, Slots, make_built
from data_prep.toy_city.city import GeneratedCity
from data_prep.toy_city.overlay import region_area_m2
from data_prep.toy_city.paint import Window
from data_prep.toy_city.places import Places, make_places
from data_prep.toy_city.settings import PoiHabitSettings, ToyCitySettings
from data_prep.toy_city.write import MosaicPainter
from data_prep.toy_city.zoning import ZONE, Uses

COLUMN = "rebuilt_share"
"""In `truth.parquet`: share of each region that lies in rebuilt blocks."""

# What rebuilt blocks become. Most are built on; some are cleared, or made a park.
BECOMES = {
    "residential": 0.30,
    "commercial": 0.20,
    "educational_governmental": 0.15,
    "industrial": 0.15,
    "green_space": 0.10,
    "unutilised": 0.10,
}
DENSITY = (0.25, 1.0)
OTHER_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class RenewedCity(GeneratedCity):
    """A city some of whose blocks are other ones than before.

    Attributes:
        before: The city before.
        after: The city if every block that can be rebuilt were rebuilt.
        rebuilt: Whether each block was rebuilt [m].
    """

    before: GeneratedCity
    after: GeneratedCity
    rebuilt: Bool[np.ndarray, " m"]

    @property
    def share_of_regions(self) -> Float[np.ndarray, " r"]:
        """Share of each region that lies in rebuilt blocks."""
        shared_m2 = region_area_m2(self.area, self.layout.blocks)
        return shared_m2 @ self.rebuilt.astype(float) / self.area.region_size_m**2


def renew(city: GeneratedCity, share: float, habits: PoiHabitSettings) -> RenewedCity:
    """The city in a later year.

    Args:
        city: The city.
        share: Share of its blocks that are rebuilt; water and its banks stay.
        habits: How many places each land use attracts.
    """
    rng = random_stream(city.seed, "renewal")
    blocks, number = city.layout.blocks, len(city.uses.zone)
    can_be = blocks.kind == "block"
    rebuilt = (rng.uniform(size=number) < share) & can_be
    zones = rng.choice([ZONE[name] for name in BECOMES], number, p=[*BECOMES.values()])
    density = rng.uniform(*DENSITY, number)
    greenness = rng.uniform(size=number)
    zone = np.where(can_be, zones, city.uses.zone)
    everywhere = dataclasses.replace(city.uses, zone=zone, greenness=greenness)
    everywhere = dataclasses.replace(
        everywhere, density=np.where(everywhere.built, density, 0.0)
    )
    seed = city.seed + OTHER_SEED
    built = make_built(seed, city.layout, everywhere)
    places = make_places(seed, blocks, everywhere, built, habits)
    after = GeneratedCity(city.area, seed, city.layout, everywhere, built, places)
    return RenewedCity(
        city.area,
        city.seed,
        city.layout,
        _joined_uses(city.uses, everywhere, rebuilt),
        _joined_built(city.built, built, rebuilt),
        _joined_places(city.places, places, rebuilt),
        before=city,
        after=after,
        rebuilt=rebuilt,
    )


def painter(city: GeneratedCity, settings: ToyCitySettings) -> MosaicPainter:
    """Returns what paints the city with old and new blocks, in the same light."""
    made: MosaicPainter = city.painter(settings)
    if isinstance(city, RenewedCity):
        old, new = (one.painter(settings) for one in (city.before, city.after))
        new = dataclasses.replace(
            new, sensing=old.sensing, dates=old.dates, textures=old.textures
        )
        made = _Renewed(old, new, city.rebuilt)
    return (
        _Shifted(made, settings.imagery_shift_m)
        if any(settings.imagery_shift_m)
        else made
    )


@dataclasses.dataclass(frozen=True)
class _Renewed:
    old: MosaicPainter
    new: MosaicPainter
    rebuilt: Bool[np.ndarray, " m"]

    @property
    def area(self) -> Area:
        return self.old.area

    def windows(self) -> Iterator[Window]:
        known = np.append(self.rebuilt, False)  # -1 is a street
        for old, new in zip(self.old.windows(), self.new.windows(), strict=True):
            corner, picture, block = old
            seen = (picture > 0).any(axis=2)
            other = (known[block] & seen)[..., None]
            yield corner, np.where(other, new[1], picture), block


@dataclasses.dataclass(frozen=True)
class _Shifted:
    exact: MosaicPainter
    shift_m: tuple[float, float]

    @property
    def area(self) -> Area:
        return self.exact.area

    def windows(self) -> Iterator[Window]:
        east, north = (metres / self.area.gsd_m for metres in self.shift_m)
        for corner, picture, block in self.exact.windows():
            moved = ndimage.shift(
                picture.astype(np.float32), (-north, east, 0), order=1, mode="nearest"
            )
            seen = (picture > 0).any(axis=2, keepdims=True)
            moved = np.clip(np.round(moved), 1, 255).astype(np.uint8)
            yield corner, np.where(seen, moved, 0), block


def _joined_uses(old: Uses, new: Uses, rebuilt: np.ndarray) -> Uses:
    names = [field.name for field in dataclasses.fields(Uses)]
    return Uses(
        **{n: np.where(rebuilt, getattr(new, n), getattr(old, n)) for n in names}
    )


def _joined_built(old: Built, new: Built, rebuilt: np.ndarray) -> Built:
    old_roofs, old_slots = _kept_roofs(old, ~rebuilt)
    new_roofs, new_slots = _kept_roofs(new, rebuilt)
    lots = [
        part.take(np.flatnonzero(kept[part.block]))
        for part, kept in ((old.open_lots, ~rebuilt), (new.open_lots, rebuilt))
    ]
    building = new_slots.building + len(old_roofs.block)
    moved = dataclasses.replace(new_slots, building=building)
    roofs, slots = _beside([old_roofs, new_roofs]), _beside([old_slots, moved])
    return Built(roofs, _beside(lots), slots)


def _kept_roofs(built: Built, kept: np.ndarray) -> tuple[Footprints, Slots]:
    """Roofs of some blocks, and their slots."""
    index = np.flatnonzero(kept[built.roofs.block])
    number = np.full(len(built.roofs.block), -1)
    number[index] = np.arange(len(index))
    slot = np.flatnonzero(number[built.slots.building] >= 0)
    slots = Slots(
        number[built.slots.building[slot]],
        built.slots.along[slot],
        built.slots.plant[slot],
    )
    return built.roofs.take(index), slots


def _beside(parts: Sequence[Any]) -> Any:
    """One table of several: footprints or slots."""
    names = [field.name for field in dataclasses.fields(parts[0])]
    return type(parts[0])(
        **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
    )


def _joined_places(old: Places, new: Places, rebuilt: np.ndarray) -> Places:
    """Places of old blocks keep their numbers; those of new ones have others."""
    stay = np.flatnonzero(~rebuilt[old.block])
    come = np.flatnonzero(rebuilt[new.block])
    return Places(
        np.concatenate([old.points[stay], new.points[come]]),
        np.concatenate([old.category[stay], new.category[come]]),
        np.concatenate([old.variety[stay], new.variety[come]]),
        np.concatenate([old.block[stay], new.block[come]]),
        [old.name[i] for i in stay] + [new.name[i] for i in come],
        [old.poi_id[i] for i in stay] + [f"n{new.poi_id[i]}" for i in come],
    )
