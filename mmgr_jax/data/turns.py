"""Decides which city, and which draw of that city, fills each row of each batch.

The decision uses only whole numbers, so any batch can be computed directly and always
with the same result. The draws of a city are numbered from 0 over the whole run. The
module `order` decides which region a draw shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class BatchRows:
    """The rows of a global batch.

    Attributes:
        city: Whose each one is [b].
        draw: Which of the city's draws it is [b].
        counts: Whether it does; others fill a batch [b].
    """

    city: Int[np.ndarray, " b"]
    draw: Int[np.ndarray, " b"]
    counts: Bool[np.ndarray, " b"]


@dataclasses.dataclass(frozen=True)
class Turns:
    """The turns of the cities of a run.

    Attributes:
        names: Of the cities.
        sizes: Regions of each [c].
        turns: Of each city in an epoch [c]: draws or, with batches of one city,
            batches.
        batch_size: BatchRows of a batch.
        by_city: Whether each batch is of one city.
        fill: Whether a batch that an epoch does not fill is filled up.
    """

    names: Sequence[str]
    sizes: Int[np.ndarray, " c"]
    turns: Int[np.ndarray, " c"]
    batch_size: int
    by_city: bool
    fill: bool

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        sizes: Sequence[int],
        weights: Sequence[float],
        corpus: CorpusSettings,
        data: DataSettings,
    ) -> Turns:
        """The turns that settings give.

        An epoch has as many draws as there are regions, or as many batches as all
        cities take to show theirs once. Their shares are rounded to whole turns by
        the largest remainders, and each city has one at least.

        Raises:
            InputError: If a batch is larger than the corpus, or than what it would
                take from a city.
        """
        size, b = np.asarray(sizes, np.int64), data.batch_size
        by_city, fill = corpus.batches == "city", data.short_batch == "fill"
        whole = size
        if by_city:
            whole = -(-size // b) if fill else size // b
        _refuse_small(names, size, whole, b, by_city=by_city)
        turns = whole
        if corpus.evenness or len(set(weights)) > 1:
            share = np.asarray(weights) * size ** (1.0 - corpus.evenness)
            turns = _rounded(share / share.sum(), int(whole.sum()))
        made = cls(tuple(names), size, turns, b, by_city, fill)
        made._refuse_crowding()
        return made

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        total = int(self.turns.sum())
        if self.by_city:
            return total
        return -(-total // self.batch_size) if self.fill else total // self.batch_size

    @property
    def regions_per_epoch(self) -> Int[np.ndarray, " c"]:
        """Regions of each city that an epoch shows [c]."""
        if not self.by_city:
            return self.turns
        whole, rest = divmod(self.turns, self._batches_of_all)
        return whole * self._shown + np.minimum(rest * self.batch_size, self._shown)

    def rows(self, step: int) -> BatchRows:
        """The rows of global batch `step`, counted from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        row = np.arange(self.batch_size, dtype=np.int64)
        if self.by_city:
            city, before = interleaved(self.turns, np.array([batch]))
            one = int(city[0])
            own_epoch, own_batch = divmod(
                epoch * int(self.turns[one]) + int(before[0]),
                int(self._batches_of_all[one]),
            )
            size = int(self.sizes[one])
            shown_before, place = np.divmod(own_batch * self.batch_size + row, size)
            draw = own_epoch * size + place
            return BatchRows(np.full(len(row), one), draw, shown_before == 0)
        total = int(self.turns.sum())
        shown_before, place = np.divmod(batch * self.batch_size + row, total)
        city, before = interleaved(self.turns, place)
        return BatchRows(city, epoch * self.turns[city] + before, shown_before == 0)

    @property
    def _batches_of_all(self) -> Int[np.ndarray, " c"]:
        """Batches that a city takes to show its regions once."""
        b = self.batch_size
        return -(-self.sizes // b) if self.fill else self.sizes // b

    @property
    def _shown(self) -> Int[np.ndarray, " c"]:
        """Regions that they show."""
        return np.minimum(self._batches_of_all * self.batch_size, self.sizes)

    def _refuse_crowding(self) -> None:
        """Raises InputError where a batch would show regions of a city twice."""
        if self.by_city:
            return
        rows = np.ceil(self.batch_size * self.turns / self.turns.sum())
        for name, size, count in zip(self.names, self.sizes, rows, strict=True):
            if count > size:
                raise InputError(
                    f"config.corpus: {name} has {size} regions, but each batch of "
                    f"{self.batch_size} would need {count:.0f} of them. Lower "
                    "config.corpus.evenness, its weight in config.corpus.weights, or "
                    "config.data.batch_size."
                )


def interleaved(
    turns: Int[np.ndarray, " c"], place: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Whose turns these are, and how many of its turns came before.

    The cities are halved again and again; of two halves with p and q turns, the one has
    had round(p t / (p + q)) of the first t. So within `sum(turns)` places each city has
    exactly its turns, and among any that follow each other about its share.

    Args:
        turns: Of each city.
        place: From 0 to below their sum.

    Returns:
        Number of the city, and of its own turn.
    """
    ends = np.concatenate(([0], np.cumsum(turns)))
    city, before = np.zeros_like(place), np.zeros_like(place)
    halves = [(0, len(turns), np.arange(len(place)), place)]
    while halves:
        first, last, rows, places = halves.pop()
        if last - first == 1:
            city[rows], before[rows] = first, places
            continue
        middle = (first + last) // 2
        left, both = ends[middle] - ends[first], ends[last] - ends[first]
        had = (places * left + both // 2) // both
        is_left = ((places + 1) * left + both // 2) // both > had
        if is_left.any():
            halves.append((first, middle, rows[is_left], had[is_left]))
        if not is_left.all():
            others = ~is_left
            halves.append((middle, last, rows[others], (places - had)[others]))
    return city, before


def _rounded(share: np.ndarray, total: int) -> Int[np.ndarray, " c"]:
    """Whole numbers in these proportions: at least 1 each, `total` in all."""
    wanted = total * share
    counts = np.maximum(np.floor(wanted).astype(np.int64), 1)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - wanted, kind="stable")[: max(missing, 0)]] += 1
    for _ in range(-missing):  # what was rounded up to 1 is taken from the largest
        counts[np.argmax(counts)] -= 1
    return counts


def _refuse_small(
    names: Sequence[str],
    size: Int[np.ndarray, " c"],
    whole: Int[np.ndarray, " c"],
    batch_size: int,
    *,
    by_city: bool,
) -> None:
    """Raises InputError where no batch can be filled."""
    if by_city and not whole.all():
        name, count = min(zip(names, size, strict=True), key=lambda pair: pair[1])
        raise InputError(
            f"config.data.batch_size={batch_size} exceeds the {count} regions of "
            f"{name}, so config.corpus.batches='city' never shows it. Take at most "
            f"{count}, or config.data.short_batch='fill'."
        )
    if not by_city and batch_size > size.sum():
        raise InputError(
            f"config.data.batch_size={batch_size} exceeds the {size.sum()} regions of "
            f"the corpus. Take at most {size.sum()}."
        )
