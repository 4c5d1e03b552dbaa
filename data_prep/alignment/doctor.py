"""Shifts the POIs in all directions and finds where they fit the imagery best.

A POI stands at a shop, a school or a stop. In any city, such places look different from
the ground a few hundred metres away. For each shift, a linear discriminant separates
the POIs' places from places elsewhere. It is learnt on half of the spatial blocks and
tested on the other half. Where POIs are placed correctly, it separates best without a
shift.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from data_prep.alignment.ground import GSD_M, Ground, Points, read
from data_prep.files import crs as crs_lib
from data_prep.imagery.mosaic import Imagery
from data_prep.pois import table
from data_prep.settings import PreparationSettings

REACH_M = 600.0
"""Shifts up to so many metres east, west, north and south are tried, and those that a
datum would explain: up to some 700 m for GCJ-02, 1,200 m for BD-09."""

LEAST_POIS = 200
"""POIs on imagery below which nothing is said."""

_STEP_M = 24.0
_AWAY_M = (700.0, 1_000.0)  # where a POI's counterparts lie
_MOST_POIS = 4_000
_BLOCK_M = 500.0
_RIDGE = 1e-2  # of a covariance of standardised statistics
_SEEN = 6.0  # deviations of the surface that a peak stands out by
_SURE_M = 12.0  # a smaller shift is not told from none
_FOOT_M = 150.0  # around a peak, which is not part of the rest
_TRIED = 3  # shifts that are looked at more closely
_PARTS = 5  # of the blocks, each left out once
_OFFICIAL_M = 25.0  # a datum explains a shift that is as near to its own

Surface = Float[np.ndarray, "k k"]
Shift = Float[np.ndarray, " 2"]
"""East and north in metres."""


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Result of the alignment check.

    Attributes:
        num_pois: POIs that lie on imagery.
        offsets_m: Shifts that were tried, the same to the east and to the north [k].
        agreement: How far apart POIs and places elsewhere are, in standard deviations,
            at each shift north and east [k k]; NaN where too few POIs lie on imagery.
        stands_out: How far the peak of the surface stands out, in deviations of the
            surface.
        shift_m: East and north shift that moves the POIs to where they fit best; None
            where no peak stands out.
        error_m: Standard error of `shift_m` along one axis.
        datum: The `config.pois.datum` that would explain the shift; None if none would.
        declared: The `config.pois.datum` of the config.
    """

    num_pois: int
    offsets_m: Float[np.ndarray, " k"]
    agreement: Surface
    stands_out: float
    shift_m: tuple[float, float] | None
    error_m: float
    datum: str | None
    declared: str

    @property
    def is_shifted(self) -> bool:
        """Whether POIs lie elsewhere than the imagery shows them."""
        if self.shift_m is None:
            return False
        return float(np.hypot(*self.shift_m)) > max(_SURE_M, 3 * self.error_m)

    def sentence(self) -> str:
        """Says in words what was found and what to do."""
        if self.shift_m is None:
            why = f"{self.num_pois:,} POIs lie on imagery"
            if self.num_pois >= LEAST_POIS:
                why += (
                    f" and fit it at the best shift {self.stands_out:.1f} standard "
                    f"deviations better than at the others (needed: {_SEEN:g})"
                )
            return (
                f"alignment: cannot tell. {why}. More POIs on imagery (at least "
                f"{LEAST_POIS}), or a larger connected area of imagery, may help."
            )
        if not self.is_shifted:
            return (
                "alignment: POIs fit the imagery where they are, within "
                f"{max(_SURE_M, 3 * self.error_m):.0f} m."
            )
        east, north = self.shift_m
        moved = f"{abs(east):.0f} m {'east' if east > 0 else 'west'} and "
        moved += f"{abs(north):.0f} m {'north' if north > 0 else 'south'}"
        seen = f"alignment: POIs fit the imagery best moved {moved}"
        if self.datum is not None:
            return (
                f"{seen}. POIs with the datum {self.datum!r} look so if they are "
                f"declared as {self.declared!r}. Set config.pois.datum={self.datum!r}."
            )
        return (
            f"{seen} (standard error {self.error_m:.0f} m), which no known datum "
            "explains. Compare config.pois.crs and config.imagery with a place that "
            "you know; POIs or imagery may be georeferenced wrongly."
        )


def measure(settings: PreparationSettings) -> Alignment:
    """Measures whether a city's POIs lie where its imagery shows them.

    Args:
        settings: The data preparation sections of the config, checked.

    Raises:
        InputError: If imagery or POIs cannot be read.
    """
    gsd_m = max(GSD_M, settings.regions.gsd_m)
    pois = table.read(settings.pois, city_crs=settings.city.crs)
    points = np.column_stack([pois.x_m, pois.y_m])
    with Imagery(settings.imagery, crs=settings.city.crs, gsd_m=gsd_m) as imagery:
        ground = read(imagery, points, gsd_m)
    declared = settings.pois.datum
    return compare(
        ground, points, datums(points, settings.city.crs, declared), declared
    )


def datums(points: Points, city_crs: str, declared: str) -> dict[str, Shift]:
    """Shift that declaring each other datum instead would make; {} outside China."""
    middle = np.median(points, axis=0)
    lon, lat = crs_lib.transform(middle[:1], middle[1:], city_crs, crs_lib.WGS84)
    gcj02 = crs_lib.wgs84_to_gcj02(lon, lat)
    if gcj02[0] == lon:
        return {}
    if declared in ("gcj02", "bd09"):
        lon, lat = gcj02
    if declared == "bd09":
        lon, lat = crs_lib.gcj02_to_bd09(lon, lat)
    moved = {}
    for datum in crs_lib.DATUMS:
        other = crs_lib.to_wgs84(lon, lat, datum)
        x, y = crs_lib.transform(*other, crs_lib.WGS84, city_crs)
        shift_m = np.concatenate([x, y]) - middle
        if datum != declared and np.hypot(*shift_m) > _SURE_M:
            moved[datum] = shift_m
    return moved


def compare(
    ground: Ground, points: Points, datums: dict[str, Shift], declared: str = "wgs84"
) -> Alignment:
    """Finds the shift at which points fit the ground best.

    Args:
        ground: What imagery looks like.
        points: The POIs.
        datums: Maps each datum to the shift it would make, see `datums`.
        declared: The datum that is declared.
    """
    rng = np.random.default_rng(0)
    _, here = ground.at(points)
    near = points[here]
    count = len(near)
    offsets_m = np.arange(-REACH_M, REACH_M + 1, _STEP_M)
    nothing = Alignment(
        count, offsets_m, np.full((len(offsets_m),) * 2, np.nan), 0.0, None, np.nan,
        None, declared,
    )  # fmt: skip
    # POIs just outside belong to the imagery once they are shifted.
    furthest_m = max([REACH_M, *(float(np.abs(one).max()) for one in datums.values())])
    reach = _within(ground, points, furthest_m)
    points = points[reach]
    if len(points) > _MOST_POIS:
        points = points[np.sort(rng.choice(len(points), _MOST_POIS, replace=False))]
    if count < LEAST_POIS:
        return nothing
    judge = _Judge(ground, points, rng)
    if judge.num_elsewhere < LEAST_POIS:
        return nothing
    surface = judge.surface(offsets_m, offsets_m)
    if np.isnan(surface).mean() > 0.5:
        return nothing
    shift_m, highest = judge.highest(surface, offsets_m, list(datums.values()))
    stands_out = _stands_out(surface, offsets_m, shift_m, highest)
    if stands_out < _SEEN:
        return dataclasses.replace(nothing, agreement=surface, stands_out=stands_out)
    without = np.array([judge.refined(shift_m, part)[0] for part in range(_PARTS)])
    apart = np.sum((without - without.mean(axis=0)) ** 2) / 2
    error_m = float(np.sqrt((_PARTS - 1) / _PARTS * apart))
    near_m = max(_OFFICIAL_M, 3 * error_m)
    explained = [
        datum for datum, moved in datums.items()
        if np.hypot(*(moved - shift_m)) <= near_m
    ]  # fmt: skip
    measured = Alignment(
        count, offsets_m, surface, stands_out, (float(shift_m[0]), float(shift_m[1])),
        error_m, None, declared,
    )  # fmt: skip
    if explained and measured.is_shifted:
        measured = dataclasses.replace(measured, datum=explained[0])
    return measured


class _Judge:
    """Tells the places of shifted POIs from places elsewhere, and says how well."""

    def __init__(
        self, ground: Ground, points: Points, rng: np.random.Generator
    ) -> None:
        self._ground, self._points = ground, points
        turn = rng.uniform(0, 2 * np.pi, (2, len(points)))
        away_m = rng.uniform(*_AWAY_M, (2, len(points)))
        moved = np.stack([away_m * np.cos(turn), away_m * np.sin(turn)], axis=-1)
        elsewhere, there = ground.at((points + moved).reshape(-1, 2))
        elsewhere = elsewhere[there].astype(float)
        self.num_elsewhere = len(elsewhere)
        self._mean = elsewhere.mean(axis=0)
        self._deviation = elsewhere.std(axis=0) + 1e-6
        self._elsewhere = (elsewhere - self._mean) / self._deviation
        self._spread = np.cov(self._elsewhere.T) if len(elsewhere) > 1 else None
        block = np.floor(points / _BLOCK_M).astype(np.int64)
        _, block = np.unique(block, axis=0, return_inverse=True)
        order = rng.permutation(block.max() + 1)[block.reshape(-1)]
        self._half, self._part = order % 2, order // 2 % _PARTS

    def surface(
        self,
        east_m: Float[np.ndarray, " k"],
        north_m: Float[np.ndarray, " j"],
        leave_out: int | None = None,
    ) -> Float[np.ndarray, "j k"]:
        """The agreement at each shift."""
        return np.array(
            [[self._agreement(x, y, leave_out) for x in east_m] for y in north_m]
        )

    def highest(
        self,
        surface: Surface,
        offsets_m: Float[np.ndarray, " k"],
        others: Sequence[Shift],
    ) -> tuple[Shift, float]:
        """The best shift, between those tried and `others` too, and the agreement."""
        best = np.argsort(np.where(np.isnan(surface), -np.inf, surface), axis=None)
        row, column = np.unravel_index(best[-_TRIED:], surface.shape)
        starts = [*np.column_stack([offsets_m[column], offsets_m[row]]), *others]
        refined = [self.refined(start) for start in starts]
        return max(refined, key=lambda shift_and_agreement: shift_and_agreement[1])

    def refined(
        self, shift_m: Shift, leave_out: int | None = None
    ) -> tuple[Shift, float]:
        """The best shift within a step, on pixels, and the agreement there."""
        near = np.arange(-_STEP_M, _STEP_M + 1, self._ground.gsd_m)
        surface = self.surface(shift_m[0] + near, shift_m[1] + near, leave_out)
        surface = np.where(np.isnan(surface), -np.inf, surface)
        row, column = np.unravel_index(surface.argmax(), surface.shape)
        return shift_m + np.array([near[column], near[row]]), float(surface.max())

    def _agreement(self, east_m: float, north_m: float, leave_out: int | None) -> float:
        values, there = self._ground.at(self._points + np.array([east_m, north_m]))
        if leave_out is not None:
            there = there & (self._part != leave_out)
        values = (values - self._mean) / self._deviation
        apart = [
            self._apart(
                values[there & (self._half != k)], values[there & (self._half == k)]
            )
            for k in (0, 1)
        ]
        return float(np.mean(apart))

    def _apart(
        self, learnt: Float[np.ndarray, "m d"], judged: Float[np.ndarray, "n d"]
    ) -> float:
        """Deviations between judged POIs and elsewhere, along the learnt direction."""
        if min(len(learnt), len(judged)) < LEAST_POIS / 4:
            return np.nan
        spread = (np.cov(learnt.T) + self._spread) / 2
        spread = spread + _RIDGE * np.eye(len(spread))
        direction = np.linalg.solve(spread, learnt.mean(axis=0))
        ours, others = judged @ direction, self._elsewhere @ direction
        deviation = np.sqrt((ours.var() + others.var()) / 2)
        return float((ours.mean() - others.mean()) / deviation)


def _within(ground: Ground, points: Points, margin_m: float) -> np.ndarray:
    high, wide = ground.valid.shape
    east_m = points[:, 0] - ground.west_m
    south_m = ground.north_m - points[:, 1]
    across = (east_m > -margin_m) & (east_m < wide * ground.gsd_m + margin_m)
    return across & (south_m > -margin_m) & (south_m < high * ground.gsd_m + margin_m)


def _stands_out(
    surface: Surface,
    offsets_m: Float[np.ndarray, " k"],
    shift_m: Shift,
    highest: float,
) -> float:
    """By how many deviations of the rest of the surface its peak stands out."""
    east, north = offsets_m - shift_m[0], (offsets_m - shift_m[1])[:, None]
    rest = surface[(np.hypot(east, north) > _FOOT_M) & ~np.isnan(surface)]
    middle = np.median(rest)
    deviation = 1.4826 * np.median(np.abs(rest - middle))
    return float((highest - middle) / max(deviation, 1e-9))
