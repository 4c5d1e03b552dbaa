"""Which regions train, choose and are tested in each round, without leakage."""

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
    """The roles of all regions in one round, as three disjoint masks [r].

    Attributes:
        train: Regions that heads are trained on.
        validation: Regions that choose the settings of the heads.
        test: Regions that are tested.
    """

    train: Bool[np.ndarray, " r"]
    validation: Bool[np.ndarray, " r"]
    test: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Split:
    """Folds that test every region once.

    Attributes:
        fold: Fold of each region [r], from 0.
        num_folds: Number of folds.
        near: Pairs [p 2] of regions that are close. If one of a pair is tested, the
            other neither trains nor chooses. None: no such pairs.
        chooses: Regions [r] that choose the settings of heads in every round in which
            they are not tested. None: the regions of the fold after the tested one.
    """

    fold: Int[np.ndarray, " r"]
    num_folds: int
    near: Int[np.ndarray, "p 2"] | None = None
    chooses: Bool[np.ndarray, " r"] | None = None

    def parts(self, test_fold: int) -> Parts:
        """Returns the roles of all regions in the round that tests `test_fold`."""
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
    """Returns the splits of an evaluation: stored folds, or new ones.

    Folds are new if the records hold none, or if `num_folds` or `seed` asks for others.

    Args:
        kinds: Kinds of splits. `block` keeps whole spatial blocks together. `random`
            ignores blocks, so heads train on neighbours of tested regions. Its scores
            are too optimistic and serve for comparison only.
        region_ids: Name of each region.
        block_id: Spatial block of each region [r].
        geometry_wkb: Outline of each region, for the buffer.
        stored: Kind -> stored fold of each region; see `folds.read`.
        meanings: Kind -> description of the stored folds.
        num_folds: Number of folds. None: as many as the stored ones, else 5.
        buffer_m: For `block`: regions within this distance (m) of a tested region
            neither train nor choose. None: the distance in the records, else 0.
        seed: 0: the stored folds. Another number: new folds, drawn with this seed.

    Returns:
        Kind -> split.

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
    """Returns the split that tests each city once, by heads trained on all others.

    In the cities that are not tested, the regions of their fold 0 choose settings.

    Args:
        inner: For each city, the fold of each of its regions. These folds should keep
            neighbours together. The split holds the regions of all cities, in order.

    Raises:
        InputError: If there is only one city.
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
