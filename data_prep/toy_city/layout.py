"""Streets, water and blocks: what divides the ground.

Districts are the Voronoi cells of seeds on rings around the centre, so that the
arterials between them form ring roads and radials. Inside a district a grid of its
own direction and spacing makes collectors, local streets and blocks. A gentle warp
bends everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import shapely
from jaxtyping import Float

from data_prep.toy_city.area import Area, Points, random_stream

ARTERIAL_WIDTH_M = 24.0
COLLECTOR_WIDTH_M = 12.0
LOCAL_WIDTH_M = 6.0
TRACK_WIDTH_M = 3.0
COLLECTOR_EVERY = 3
# Anything smaller between streets stays pavement.
MIN_BLOCK_AREA_M2 = 320.0
BANK_WIDTH_M = 26.0
# Block spacing along and across a district's direction, by its urbanity: centre,
# suburb, countryside.
SPACING_M = {"centre": (104.0, 84.0), "suburb": (128.0, 78.0), "rural": (150.0, 96.0)}
CENTRE_URBANITY = 0.75
RURAL_URBANITY = 0.22

Polygons = np.ndarray
Warp = Callable[[Points], Points]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The parcels between streets, in local metres.

    Attributes:
        polygon: Outline of every block [m].
        frame: Middle of the grid cell a block was cut from, x and y, before the warp.
        angle_rad: Direction of the cell's long side.
        cell_size_m: The cell's length along and across `angle_rad`.
        kind: "block", "water" or "bank".
        rural: Whether the block's district is countryside.
    """

    polygon: Polygons
    frame: Float[np.ndarray, "m 2"]
    angle_rad: Float[np.ndarray, " m"]
    cell_size_m: Float[np.ndarray, "m 2"]
    kind: np.ndarray
    rural: np.ndarray

    @property
    def centroid(self) -> Points:
        """Centroids [m 2]."""
        return shapely.get_coordinates(shapely.centroid(self.polygon))

    @property
    def area_m2(self) -> Float[np.ndarray, " m"]:
        """Areas."""
        return shapely.area(self.polygon)


@dataclasses.dataclass(frozen=True)
class StreetLayout:
    """Blocks and the axes of the streets between them.

    Attributes:
        blocks: The parcels.
        arterials: Axes of the roads between districts.
        districts: District cells, which the countryside's ground is painted by.
        district_rural: Whether a district is countryside.
        warp: The bend given to everything.
    """

    blocks: Blocks
    arterials: Polygons
    districts: Polygons
    district_rural: np.ndarray
    warp: Warp


def make_layout(
    area: Area, seed: int, urbanity: Callable[[Points], Float[np.ndarray, " m"]]
) -> StreetLayout:
    """Divides the area into blocks, water and streets.

    Args:
        area: The mosaic's rectangle.
        seed: Seed of the city.
        urbanity: How urban a place is, about 1 in the centre and below
            `RURAL_URBANITY` in the countryside.
    """
    rng = random_stream(seed, "layout")
    warp = _make_warp(rng, area)
    cells = _districts(rng, area)
    level = urbanity(shapely.get_coordinates(shapely.centroid(cells)))
    water = _water(rng, area, urbanity)
    axes = shapely.transform(shapely.segmentize(shapely.boundary(cells), 40.0), warp)
    pieces = [
        _district_blocks(rng, cell, level[number]) for number, cell in enumerate(cells)
    ]
    blocks = _concatenate(pieces)
    bent = shapely.transform(shapely.segmentize(blocks.polygon, 30.0), warp)
    blocks = _clip(dataclasses.replace(blocks, polygon=bent), area, water)
    axes = _outside_water(axes, water, area)
    return StreetLayout(
        blocks=_concatenate([blocks, *_water_blocks(water, axes, area)]),
        arterials=axes,
        districts=shapely.transform(shapely.segmentize(cells, 40.0), warp),
        district_rural=level < RURAL_URBANITY,
        warp=warp,
    )


def _make_warp(rng: np.random.Generator, area: Area) -> Warp:
    waves = 2 * np.pi / rng.uniform(900.0, 1700.0, size=(3, 2))
    phase = rng.uniform(0, 2 * np.pi, size=(3, 2))
    amplitude_m = rng.uniform(6.0, 13.0, size=(3, 2))

    def warp(points: Points) -> Points:
        turned = points[:, None, ::-1] * waves + phase
        return points + (amplitude_m * np.sin(turned)).sum(axis=1)

    return warp


def _districts(rng: np.random.Generator, area: Area) -> Polygons:
    spacing_m = float(np.clip(area.extent_m / 7, 280.0, 620.0))
    centre = area.centre + rng.uniform(-0.05, 0.05, 2) * area.extent_m
    reach_m = np.hypot(*area.size_m) / 2 + 2 * spacing_m
    seeds = [centre[None]]
    for ring in range(1, int(reach_m / spacing_m) + 1):
        count = max(5, round(2 * np.pi * ring / 1.15))
        turn = np.arange(count) / count * 2 * np.pi + rng.uniform(0, 2 * np.pi)
        offset = ring * spacing_m * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        seeds.append(centre + offset + rng.normal(0, 0.11 * spacing_m, (count, 2)))
    points = np.concatenate(seeds)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points)))
    wide = shapely.box(-300.0, -300.0, *(np.array(area.size_m) + 300.0))
    cells = shapely.intersection(cells, wide)
    return cells[shapely.area(cells) > 0]


def _water(
    rng: np.random.Generator,
    area: Area,
    urbanity: Callable[[Points], Float[np.ndarray, " m"]],
) -> shapely.Geometry:
    """A winding river beside the centre, and a lake on the outskirts."""
    width_m, height_m = area.size_m
    extent_m = area.extent_m
    along = np.linspace(-0.1, 1.1, 160)
    bend = 0.05 * np.sin(2 * np.pi * (1.3 * along + rng.uniform()))
    bend += 0.025 * np.sin(2 * np.pi * (3.1 * along + rng.uniform()))
    start, end = rng.uniform(0.28, 0.40), rng.uniform(0.22, 0.46)
    y_m = height_m * (start + (end - start) * along) + bend * extent_m
    axis = np.stack([along * width_m, y_m], axis=1)
    if rng.uniform() < 0.5:
        axis[:, 1] = height_m - axis[:, 1]
    half_width_m = float(np.clip(0.012 * extent_m, 14.0, 42.0))
    river = shapely.buffer(shapely.LineString(axis), half_width_m)
    spots = rng.uniform(0.15, 0.85, (40, 2)) * area.size_m
    spot = spots[np.argmin(np.abs(urbanity(spots) - 0.30))]
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius_m = (
        0.045 * extent_m * (1 + 0.18 * np.sin(2 * turn + 1) + 0.1 * np.sin(5 * turn))
    )
    shore = spot + np.stack([1.5 * np.cos(turn), np.sin(turn)], 1) * radius_m[:, None]
    return shapely.union(river, shapely.Polygon(shore))


def _district_blocks(
    rng: np.random.Generator, cell: shapely.Geometry, level: float
) -> Blocks:
    """Cuts a district by its own grid of streets."""
    rural = bool(level < RURAL_URBANITY)
    kind = "rural" if rural else "centre" if level > CENTRE_URBANITY else "suburb"
    local_m = TRACK_WIDTH_M if rural else LOCAL_WIDTH_M
    centre = shapely.get_coordinates(shapely.centroid(cell))[0]
    angle_rad = rng.uniform(-0.5, 0.5) * (np.pi / 2)
    reach_m = float(np.hypot(*(np.ptp(shapely.get_coordinates(cell), axis=0)))) / 2
    spacing = SPACING_M[kind]
    low_u, high_u = _cuts(rng, reach_m, spacing[0], local_m)
    low_v, high_v = _cuts(rng, reach_m, spacing[1], local_m)
    u0, v0 = (grid.ravel() for grid in np.meshgrid(low_u, low_v))
    u1, v1 = (grid.ravel() for grid in np.meshgrid(high_u, high_v))
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    boxes = shapely.transform(
        shapely.box(u0, v0, u1, v1), lambda points: points @ turn.T + centre
    )
    inner = shapely.buffer(cell, -ARTERIAL_WIDTH_M / 2, join_style="mitre")
    shapely.prepare(inner)
    parts, index = shapely.get_parts(
        shapely.intersection(boxes, inner), return_index=True
    )
    keep = shapely.area(parts) > MIN_BLOCK_AREA_M2
    parts, index = parts[keep], index[keep]
    middle = np.stack([u0 + u1, v0 + v1], axis=1)[index] / 2
    return Blocks(
        polygon=parts,
        frame=middle @ turn.T + centre,
        angle_rad=np.full(len(parts), angle_rad),
        cell_size_m=np.stack([u1 - u0, v1 - v0], axis=1)[index],
        kind=np.full(len(parts), "block"),
        rural=np.full(len(parts), rural),
    )


def _cuts(
    rng: np.random.Generator, reach_m: float, spacing_m: float, local_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the strips between streets across a district."""
    count = int(2 * reach_m / spacing_m) + 2
    steps = spacing_m * rng.uniform(0.78, 1.25, count)
    lines = np.concatenate([[0.0], np.cumsum(steps)]) - reach_m
    lines = lines - rng.uniform(0, spacing_m)
    collector = np.arange(len(lines)) % COLLECTOR_EVERY == 0
    half_m = np.where(collector, COLLECTOR_WIDTH_M if local_m > 4 else 5.0, local_m) / 2
    return lines[:-1] + half_m[:-1], lines[1:] - half_m[1:]


def _concatenate(pieces: list[Blocks]) -> Blocks:
    names = [field.name for field in dataclasses.fields(Blocks)]
    return Blocks(
        **{name: np.concatenate([getattr(p, name) for p in pieces]) for name in names}
    )


def _take(blocks: Blocks, index: np.ndarray) -> Blocks:
    names = [field.name for field in dataclasses.fields(Blocks)]
    return Blocks(**{name: getattr(blocks, name)[index] for name in names})


def _clip(blocks: Blocks, area: Area, water: shapely.Geometry) -> Blocks:
    """Cuts water, its banks and everything outside the area from the blocks."""
    wet = shapely.buffer(water, BANK_WIDTH_M + LOCAL_WIDTH_M)
    shapely.prepare(wet)
    touched = shapely.intersects(wet, blocks.polygon)
    polygon = blocks.polygon.copy()
    polygon[touched] = shapely.difference(polygon[touched], wet)
    polygon = shapely.intersection(polygon, shapely.box(0, 0, *area.size_m))
    parts, index = shapely.get_parts(polygon, return_index=True)
    keep = (shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 60.0)
    return dataclasses.replace(_take(blocks, index[keep]), polygon=parts[keep])


def _outside_water(axes: Polygons, water: shapely.Geometry, area: Area) -> Polygons:
    """Arterials between junctions, with a bridge only where one crosses squarely."""
    merged = shapely.line_merge(shapely.union_all(axes))
    around = shapely.box(-60, -60, *(np.array(area.size_m) + 60))
    lines = shapely.get_parts(shapely.intersection(merged, around))
    wet_m = shapely.length(shapely.intersection(lines, water))
    junction_in_water = shapely.intersects(
        shapely.get_point(lines, 0), water
    ) | shapely.intersects(shapely.get_point(lines, -1), water)
    bridge = (wet_m < 0.03 * area.extent_m + 60.0) & ~junction_in_water
    dry = shapely.difference(lines, shapely.buffer(water, BANK_WIDTH_M))
    return np.where((wet_m == 0) | bridge, lines, dry)


def _water_blocks(water: shapely.Geometry, axes: Polygons, area: Area) -> list[Blocks]:
    """Water without bridges, and green banks without roads."""
    everything = shapely.box(0, 0, *area.size_m)
    roads = shapely.union_all(
        shapely.buffer(axes, ARTERIAL_WIDTH_M / 2, cap_style="flat")
    )
    wet = shapely.intersection(shapely.difference(water, roads), everything)
    ring = shapely.difference(shapely.buffer(water, BANK_WIDTH_M), water)
    bank = shapely.intersection(shapely.difference(ring, roads), everything)
    pieces = []
    for kind, geometry in (("water", wet), ("bank", bank)):
        parts = shapely.get_parts(geometry)
        parts = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 1.0)]
        pieces.append(
            Blocks(
                polygon=parts,
                frame=shapely.get_coordinates(shapely.centroid(parts)),
                angle_rad=np.zeros(len(parts)),
                cell_size_m=np.ones((len(parts), 2)),
                kind=np.full(len(parts), kind),
                rural=np.zeros(len(parts), bool),
            )
        )
    return pieces
