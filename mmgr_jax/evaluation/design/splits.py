"""Who is tested, who chooses and who trains in each round, so that nobody leaks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from jaxtyping import Bool, Int

from mmgr_jax.data import folds as folds_lib
from mmgr_jax.data.schema import SplitColumn as Meaning
from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """The roles of all regions in one round, three disjoint masks [r]."""

    train: Bool[np.ndarray, " r"]
    validation: Bool[np.ndarray, " r"]
    test: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Split:
    """A way to test every region once.

    Attributes:
        fold: Fold of each region [r], from 0.
        num_folds: Number of folds.
        near: Pairs [p 2] of regions so close that, where one of them is tested, the
            other takes no part.
        chooses: Regions [r] that choose the strength whenever they are not tested;
            None: those of the fold after the tested one.
    """

    fold: Int[np.ndarray, " r"]
    num_folds: int
    near: Int[np.ndarray, "p 2"] | None = None
    chooses: Bool[np.ndarray, " r"] | None = None

    def parts(self, test_fold: int) -> Parts:
        """One round: `test_fold` is tested, others choose, the rest trains."""
        test = self.fold == test_fold
        if self.chooses is None:
            validation = self.fold == (test_fold + 1) % self.num_folds
        else:
            validation = self.chooses & ~test
        far = np.ones(len(test), bool)
        if self.near is not None:
            first, second = self.near.T
            far[first[test[second]]] = False
            far[second[test[first]]] = False
        return Parts(
            train=~test & ~validation & far, validation=validation & far, test=test
        )


def choose(
    kinds: Sequence[str],
    *,
    region_ids: Sequence[str],
    block_id: Int[np.ndarray, " r"],
    geometry_wkb: Sequence[bytes],
    stored: Mapping[str, Int[np.ndarray, " r"]],
    meanings: Mapping[str, Meaning],
    num_folds: int | None,
    buffer_m: float | None,
    seed: int,
) -> dict[str, Split]:
    """The splits to evaluate under: those stored, or dealt anew where asked otherwise.

    Args:
        kinds: `block` keeps whole spatial blocks together. `random` ignores them, so
            that neighbours of a tested region are trained on; its scores flatter and
            are there for comparison.
        region_ids: Name of each region.
        block_id: Spatial block of each region [r].
        geometry_wkb: Outline of each region, for the buffer.
        stored: Kind -> stored fold of each region; see `folds.read`.
        meanings: Kind -> what is known of the stored folds.
        num_folds: Number of folds; None for that of the stored ones, or 5.
        buffer_m: Regions this close to a tested one neither train nor choose, under
            `block`; None for what the records say.
        seed: 0 for the stored folds; another number deals anew.

    Raises:
        InputError: If there are too few blocks or regions.
    """
    chosen = {}
    for kind in kinds:
        meaning = meanings.get(kind)
        count = num_folds or (meaning.num_folds if meaning else folds_lib.DEFAULT_FOLDS)
        if meaning and seed == 0 and count == meaning.num_folds:
            fold = stored[kind]
        else:
            why = "the records hold none" if meaning is None else "asked otherwise"
            log.info("%s split: %d new folds are made (%s)", kind, count, why)
            fold = _deal(kind, region_ids, block_id, count, seed)
        buffer = buffer_m if buffer_m is not None else getattr(meaning, "buffer_m", 0.0)
        near = None
        if kind == "block" and buffer > 0:
            near = _near(geometry_wkb, buffer)
        chosen[kind] = Split(fold, count, near)
    return chosen


def by_city(inner: Sequence[Int[np.ndarray, " _"]]) -> Split:
    """Each city is tested once, by heads trained on all the others.

    In the cities that are not tested, the regions of their own fold 0 choose.

    Args:
        inner: For each city, a fold of each of its regions that keeps neighbours
            together; the regions of the split are those of the cities, in order.

    Raises:
        InputError: If there is one city alone.
    """
    if len(inner) < 2:
        raise InputError(
            "leaving one city out needs at least two cities; name the records of "
            "others in config.eval.other_records."
        )
    city = np.repeat(np.arange(len(inner)), [len(fold) for fold in inner])
    return Split(city, len(inner), chooses=np.concatenate(inner) == 0)


def _deal(
    kind: str,
    region_ids: Sequence[str],
    block_id: Int[np.ndarray, " r"],
    num_folds: int,
    seed: int,
) -> Int[np.ndarray, " r"]:
    if kind == "random":
        return folds_lib.by_hash(region_ids, num_folds=num_folds, seed=seed)
    blocks = [str(block) for block in block_id.tolist()]
    return folds_lib.by_block(blocks, num_folds=num_folds, seed=seed)


def _near(geometry_wkb: Sequence[bytes], buffer_m: float) -> Int[np.ndarray, "p 2"]:
    """Pairs of regions whose outlines are within the buffer, each pair once."""
    outlines = shapely.from_wkb(list(geometry_wkb))
    pairs = shapely.STRtree(outlines).query(
        outlines, predicate="dwithin", distance=buffer_m
    )
    return pairs[:, pairs[0] < pairs[1]].T
