"""Which regions changed between two years, by embeddings of one encoder.

Two pictures of a place differ even if nothing was built: the sun has another position,
the season is another one, the pictures are shifted by a metre. So each distance is
compared with distances where nothing changed. Three sources give these:

- the earlier pictures, *read again* with a shift and in other light. Directions of the
  embedding that change much by this count less;
- *similar regions*: the expected change of a region's embedding is the change of
  regions that looked similar, and its distance is compared with theirs. So no field
  counts as changed if a season turns all fields brown;
- pairs believed to be *unchanged*: those that a user names, else the half with the
  smaller distances.

Reference:
    Whitening of unwanted differences: Hatch, Kajarekar and Stolcke (2006),
    Interspeech, 1471-1474 (within-class covariance normalisation). Iterative comparison
    with unchanged pixels: Nielsen (2007), IEEE Transactions on Image
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
from mmgr_jax.evaluation.certainty import discoveries

FEWEST = 40
"""Smallest number of regions; with fewer, the usual change cannot be estimated."""

NAMED = 20
"""Smallest number of unchanged pairs, if a user names any. With m pairs the smallest
p value is 1 / (m + 1)."""

SHIFT_PX = 1.0
"""Assumed shift between pictures of two years, in pixels."""

CONTRAST, BRIGHTNESS, COLOUR, NOISE = 0.07, 0.05, 0.02, 2.0
"""Other light of a repeated reading. Factors of contrast, of brightness and of each
channel are drawn from 1 minus to 1 plus this number. NOISE is the standard deviation of
noise, on the scale 0 to 255."""

# Chosen on ten generated cities; docs/change.md has twenty others.
_COMPONENTS = 30  # principal components in which regions are compared
_LANDMARKS = 500  # regions that the kernel regression uses as landmarks
_NOISE_OF_CHANGE = 0.3  # noise variance in the regression of differences
_NOISE_OF_DISTANCE = 1.0  # noise variance in the regression of log distances
_FOLDS = 8
_LEAST_VARIANCE = 0.1  # of the mean variance, added to the variance of each direction
_SPREAD = 1e-6
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Change:
    """How much each of n pairs changed.

    Attributes:
        factor: Distance of each pair divided by that of similar regions [n]. 1 is the
            median pair.
        p_value: Probability that an unchanged pair has such a large distance [n]. NaN
            for pairs named as unchanged, which are not tested.
        q_value: Smallest rate of false discoveries at which the pair counts as changed
            [n]: among all pairs with at most q, on average a share of q did not
            change. NaN for pairs named as unchanged.
        null: Pairs that p values are computed from: "named" by a user, or the "half"
            with the smaller distances.
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
    """Measures how much each region changed, and how certain this is.

    Each year is standardised by its own mean and deviation. So effects of light or
    sensor on all regions do not count as change (measured: docs/change.md).

    Args:
        earlier: Features of the earlier year.
        later: Features of the later year, for the same regions by the same encoder.
        again: Two or more repeated readings: features of earlier pictures altered by
            `read_again`.
        drawn: Regions of `earlier` that were read again; None: all.
        unchanged: Pairs that a user names as unchanged; None: none are named.
        weights: Factor of each standardised column, as in `Features.weights`.

    Raises:
        InputError: If there are too few regions or too few named pairs, features are
            not finite, or features stayed the same when pictures were read again.
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
        p_value = discoveries.by_named(surprise, surprise[unchanged])
        p_value[unchanged] = np.nan
        return Change(factor, p_value, discoveries.adjusted(p_value), "named")
    own = alike.rows(drawn)
    readings = [
        length - own.predict(length[:, None], _NOISE_OF_DISTANCE)[:, 0]
        for length in (_log_length(move @ whiten) for move in moved)
    ]
    p_value = np.maximum(
        discoveries.by_mirror(surprise),
        discoveries.by_readings(surprise, np.concatenate(readings)),
    )
    return Change(factor, p_value, discoveries.adjusted(p_value), "half")


def read_again(
    tiles: UInt8[np.ndarray, "n h w 3"],
    rng: np.random.Generator,
    *,
    shift_px: float = SHIFT_PX,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Alters tiles as if they came from another flight over an unchanged city.

    Each tile is shifted by `shift_px` in a random direction, with interpolation between
    pixels. Its contrast, brightness, colours and noise are drawn at random. The edge is
    filled by mirroring.

    Args:
        tiles: Tiles with the channels red, green, blue.
        rng: Random generator.
        shift_px: Length of the shift, in pixels of the tile.
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


@dataclasses.dataclass(frozen=True)
class Alike:
    """Kernel ridge regression on the appearance of regions in the earlier year.

    The kernel is a Gaussian whose width is set by the median distance. If there are
    many regions, some are drawn as landmarks (Nystroem's approximation, Williams and
    Seeger 2001).

    Attributes:
        kernel: Similarity of regions and landmarks [n k].
        between: Similarity between landmarks [k k].
        fold: Fold of each region [n]; it is predicted from the other folds.
    """

    kernel: Float[np.ndarray, "n k"]
    between: Float[np.ndarray, "k k"]
    fold: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n f"]) -> Alike:
        """Computes kernel and folds from standardised features."""
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
        """Selects some regions; the landmarks stay the same."""
        return Alike(self.kernel[index], self.between, self.fold[index])

    def predict(
        self, values: Float[np.ndarray, "n k"], noise: float
    ) -> Float[np.ndarray, "n k"]:
        """Predicts the values of each region from the regions of the other folds.

        Args:
            values: Known values of all regions.
            noise: Variance of the noise, relative to that of the smooth function.
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
            "change: features stay the same when pictures are shifted, so they are "
            "read from a table, or kept by a locked encoder. Take one that reads "
            "pictures (config.model.image_encoder)."
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
    """Matrix that scales down directions in which readings or seasons move features.

    Readings are scaled to the median length of the differences.
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


def _squared_distances(
    first: Float[np.ndarray, "n k"], second: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, "n m"]:
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(squares - 2 * first @ second.T, 0)
