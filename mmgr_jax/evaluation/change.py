"""Which regions changed between two years, by embeddings of one encoder.

Two pictures of a place differ by more than what was built: the sun stands elsewhere, it
is another season, they lie a metre apart. So a distance counts by what it is worth
where nothing changed. Three things say that:

- the earlier pictures *read again*, shifted and in other light: directions of the
  embedding in which that moves it count less;
- *regions like it*: what a region's embedding is expected to become is what became of
  those that looked alike, and its distance is judged beside theirs. So a season that
  turns all fields brown changes no field;
- pairs believed *unchanged*: those that a user names; else the less distant half.

Reference:
    Whitening by what should not count: Hatch, Kajarekar and Stolcke (2006),
    Interspeech, 1471-1474 (within-class covariance normalisation). Change judged beside
    unchanged pixels, again and again: Nielsen (2007), IEEE Transactions on Image
    Processing 16(2):463-478, doi 10.1109/TIP.2006.888195. A null distribution from the
    data themselves: Efron (2004), JASA 99(465):96-104, doi 10.1198/016214504000000089;
    by mirroring the side without signals: Barber and Candes (2015), Annals of
    Statistics 43(5):2055-2085, doi 10.1214/15-AOS1337. P values from named pairs:
    Bates, Candes, Lei, Romano and Sesia (2023), Annals of Statistics 51(1):149-178,
    doi 10.1214/22-AOS2244. False discoveries: Benjamini and Hochberg (1995), JRSS B
    57(1):289-300.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from mmgr_jax.errors import InputError

FEWEST = 40
"""Regions without which nobody knows what is usual."""

NAMED = 20
"""Pairs that a user must name as unchanged, if any: of m pairs the smallest p value is
1 / (m + 1)."""

SHIFT_PX = 1.0
"""By how far pictures of two years are taken to lie apart."""

CONTRAST, BRIGHTNESS, COLOUR, NOISE = 0.07, 0.05, 0.02, 2.0
"""Light of a reading: factors of contrast, brightness and of each channel, drawn within
so much of 1; deviation of noise, in levels of 255."""

WIDER = 1.15
"""How much further unchanged pairs lie above their middle than below: 1.1 to 1.4 times
in ten generated cities."""

# Chosen on these ten cities; docs/change.md has twenty others.
_COMPONENTS = 30  # by which regions are alike
_LANDMARKS = 500  # regions by which a smooth function of them is given
_NOISE_OF_CHANGE = 0.3  # of the regression of differences
_NOISE_OF_DISTANCE = 1.0  # of that of distances
_FOLDS = 8
_LEAST_VARIANCE = 0.1  # of the mean variance: what no reading moves still counts
_SPREAD = 1e-6
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Change:
    """How much each of n pairs changed.

    Attributes:
        factor: Its distance beside that of regions like it [n]: 1 is usual.
        p_value: How often an unchanged pair would be as distant [n]; NaN for named
            ones, which are not tested.
        q_value: The least rate of false discoveries at which it counts as changed [n]:
            among all with at most q a share of q is wrong, on average. NaN likewise.
        null: What p values come from: "named" or "half".
    """

    factor: Float[np.ndarray, " n"]
    p_value: Float[np.ndarray, " n"]
    q_value: Float[np.ndarray, " n"]
    null: str


def measure(
    earlier: Float[np.ndarray, "n f"],
    later: Float[np.ndarray, "n f"],
    again: Sequence[Float[np.ndarray, "m f"]],
    *,
    drawn: Int[np.ndarray, " m"] | None = None,
    unchanged: Bool[np.ndarray, " n"] | None = None,
    weights: Float[np.ndarray, " f"] | None = None,
) -> Change:
    """How much each region changed, and how surely.

    Each year is standardised by its own mean and deviation: what the light of a day, or
    a sensor, does to all regions alike is no change (measured: docs/change.md).

    Args:
        earlier: Features of the earlier year.
        later: Of the later year, of the same regions by the same encoder.
        again: Features of earlier pictures that were read again, see `read_again`; two
            or more such readings.
        drawn: Which regions those are of; None: all.
        unchanged: Pairs that a user names as unchanged; None: nobody does.
        weights: By which standardised columns count, as in `Features.weights`.

    Raises:
        InputError: If regions are too few, features are not finite or did not move when
            pictures were read again, or named pairs are too few.
    """
    _check(earlier, later, again, unchanged)
    drawn = np.arange(len(earlier)) if drawn is None else drawn
    scale = np.ones(earlier.shape[1]) if weights is None else weights
    old, new = (_standardised(values) * scale for values in (earlier, later))
    moved = [
        _standardised(values) * scale - _standardised(earlier[drawn]) * scale
        for values in again
    ]
    alike = Alike.of(old)
    difference = new - old
    expected = alike.predict(difference, _NOISE_OF_CHANGE)
    whiten = _whitening(np.concatenate(moved), difference, expected)
    distance = _log_length((difference - expected) @ whiten)
    surprise = distance - alike.predict(distance[:, None], _NOISE_OF_DISTANCE)[:, 0]
    middle = float(np.median(surprise))
    factor = np.exp(surprise - middle)
    if unchanged is not None:
        p_value = by_named(surprise, surprise[unchanged])
        p_value[unchanged] = np.nan
        return Change(factor, p_value, adjusted(p_value), "named")
    own = alike.rows(drawn)
    readings = [
        length - own.predict(length[:, None], _NOISE_OF_DISTANCE)[:, 0]
        for length in (_log_length(move @ whiten) for move in moved)
    ]
    p_value = np.maximum(
        by_mirror(surprise), by_readings(surprise, np.concatenate(readings))
    )
    return Change(factor, p_value, adjusted(p_value), "half")


def read_again(
    tiles: UInt8[np.ndarray, "n h w 3"],
    rng: np.random.Generator,
    *,
    shift_px: float = SHIFT_PX,
) -> UInt8[np.ndarray, "n h w 3"]:
    """The tiles as another flight might have brought them, with nothing changed.

    Each is shifted by `shift_px` in a direction of its own, between pixels too, and its
    contrast, brightness, colours and noise are drawn anew. What comes in at the edge is
    mirrored.

    Args:
        tiles: Red, green, blue.
        rng: Source of the draws.
        shift_px: How far, in pixels of the tile.
    """
    changed = np.empty_like(tiles)
    for number, tile in enumerate(tiles):
        angle = rng.uniform(0, 2 * np.pi)
        shift = shift_px * np.array([np.sin(angle), np.cos(angle)])
        moved = ndimage.shift(
            tile.astype(np.float32), (*shift, 0), order=1, mode="reflect"
        )
        mean = moved.mean()
        light = (moved - mean) * rng.uniform(1 - CONTRAST, 1 + CONTRAST)
        light += mean * rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)
        light *= rng.uniform(1 - COLOUR, 1 + COLOUR, 3)
        light += rng.normal(0, NOISE, light.shape)
        changed[number] = np.clip(np.round(light), 0, 255)
    return changed


def by_named(
    values: Float[np.ndarray, " n"], unchanged: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """P values beside pairs known to be unchanged: valid if these are like the others.

    Args:
        values: Of the pairs to be tested.
        unchanged: Of those that are known.
    """
    known = np.sort(unchanged)
    as_large = len(known) - np.searchsorted(known, values, side="left")
    return (1 + as_large) / (1 + len(known))


def by_mirror(
    values: Float[np.ndarray, " n"], *, wider: float = WIDER
) -> Float[np.ndarray, " n"]:
    """P values beside the lower half, mirrored at the median.

    Where some pairs changed, the median lies too high and the half is too wide: fewer
    are called changed, not more.

    Args:
        values: Of the pairs.
        wider: By which the mirrored half is stretched.
    """
    above = values - np.median(values)
    below = -above[above < 0]
    return by_named(above, np.concatenate([wider * below, -below]))


def by_readings(
    values: Float[np.ndarray, " n"], readings: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """P values beside readings of the same pictures, which two years differ more than.

    Both are compared by how far they are above their own median, in units of how far
    the lowest eighth is below it.

    Args:
        values: Of the pairs.
        readings: Of pictures read again.
    """
    return by_named(*(_from_middle(part) for part in (values, readings)))


def adjusted(p_value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Q values by Benjamini and Hochberg; NaN where there is no p value."""
    tested = np.flatnonzero(np.isfinite(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    rates = p_value[order] * len(order) / rank
    q_value = np.full(len(p_value), np.nan)
    q_value[order] = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1)
    return q_value


@dataclasses.dataclass(frozen=True)
class Alike:
    """Smooth functions of how regions looked, by kernel ridge regression.

    Its kernel is a Gaussian as wide as the median distance; of many regions some are
    landmarks (Nystroem's approximation, Williams and Seeger 2001).

    Attributes:
        kernel: Likeness of regions and landmarks [n k].
        between: That of landmarks [k k].
        fold: Of each region: it is predicted from the other folds [n].
    """

    kernel: Float[np.ndarray, "n k"]
    between: Float[np.ndarray, "k k"]
    fold: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n f"]) -> Alike:
        """From standardised features."""
        rng = np.random.default_rng(0)
        number = len(features)
        _, axes = np.linalg.eigh(features.T @ features / number)
        places = features @ axes[:, ::-1][:, :_COMPONENTS]
        count = min(number, _LANDMARKS)
        marks = np.sort(rng.choice(number, count, replace=False))
        apart = _squared_distances(places, places[marks])
        width = max(float(np.median(apart[apart > 0])) if count > 1 else 1.0, _TINY)
        kernel = np.exp(-apart / width)
        fold = rng.permutation(number) % _FOLDS
        return cls(kernel, kernel[marks], fold)

    def rows(self, index: Int[np.ndarray, " m"]) -> Alike:
        """The same of some regions."""
        return Alike(self.kernel[index], self.between, self.fold[index])

    def predict(
        self, values: Float[np.ndarray, "n k"], noise: float
    ) -> Float[np.ndarray, "n k"]:
        """What regions of the other folds let one expect of each.

        Args:
            values: Known of all regions.
            noise: Variance of what no likeness explains, beside that of the function.
        """
        expected = np.empty(values.shape)
        for fold in range(_FOLDS):
            out = self.fold == fold
            kernel, known = self.kernel[~out], values[~out]
            mean = known.mean(axis=0)
            system = kernel.T @ kernel + noise * self.between
            system += 1e-8 * np.trace(system) / len(system) * np.eye(len(system))
            slope = np.linalg.solve(system, kernel.T @ (known - mean))
            expected[out] = mean + self.kernel[out] @ slope
        return expected


def _check(
    earlier: np.ndarray,
    later: np.ndarray,
    again: Sequence[np.ndarray],
    unchanged: np.ndarray | None,
) -> None:
    if len(earlier) < FEWEST:
        raise InputError(
            f"change of {len(earlier)} regions: at least {FEWEST} that both years have "
            "are needed, to know what is usual. Take records of a larger area."
        )
    for name, values in (("earlier", earlier), ("later", later)):
        if not np.isfinite(values).all():
            raise InputError(
                f"change: features of the {name} year are not finite. Check the "
                "checkpoint and the images of its records."
            )
    if not any((values != again[0]).any() for values in again[1:]):
        raise InputError(
            "change: features stay the same when pictures are shifted, so they do not "
            "come from these pictures. Take an encoder that reads them, not a table "
            "(config.model.image_encoder)."
        )
    if unchanged is not None and unchanged.sum() < NAMED:
        raise InputError(
            f"change: {int(unchanged.sum())} of the regions that are named as "
            f"unchanged are there in both years; at least {NAMED} are needed, better "
            "200."
        )


def _standardised(values: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    values = np.asarray(values, np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > _SPREAD * np.maximum(np.abs(mean), _SPREAD)
    return (values - mean) / np.where(varies, deviation, np.inf)


def _whitening(
    moved: Float[np.ndarray, "m f"],
    difference: Float[np.ndarray, "n f"],
    expected: Float[np.ndarray, "n f"],
) -> Float[np.ndarray, "f f"]:
    """What makes directions count less in which readings and seasons move features.

    Readings are as long as differences are, half the weight is the season's.
    """
    longer = np.median(np.linalg.norm(difference, axis=1))
    usual = max(float(np.median(np.linalg.norm(moved, axis=1))), _TINY)
    moved = moved * (longer / usual)
    covariance = moved.T @ moved + 2 * expected.T @ expected
    covariance /= len(moved) + 2 * len(expected)
    variance, axes = np.linalg.eigh(covariance)
    least = max(_LEAST_VARIANCE * float(variance.mean()), _TINY)
    return axes / np.sqrt(np.maximum(variance, 0) + least)


def _log_length(rows: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
    return np.log(np.linalg.norm(rows, axis=1) + _TINY)


def _from_middle(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    low, middle = np.quantile(values, [0.125, 0.5])
    return (values - middle) / max(float(middle - low), _TINY)


def _squared_distances(
    first: Float[np.ndarray, "n k"], second: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, "n m"]:
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(squares - 2 * first @ second.T, 0)
