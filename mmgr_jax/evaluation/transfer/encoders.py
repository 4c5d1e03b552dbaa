"""Which encoders are trained, and on which cities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

ALL = "all cities"
"""The encoder that has seen the tiles and POIs of every city, and no label."""

UNSEEN = "never seen"
"""The encoder that has seen every city but the tested one."""

OWN = "own city"
"""The encoder that has seen the tested city alone."""


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """An encoder.

    Attributes:
        folder: Name of its run.
        cities: Those whose tiles and POIs it is trained on, sorted.
    """

    folder: str
    cities: tuple[str, ...]


def roles(
    names: Sequence[str], tested: str, num_cities: Sequence[int]
) -> dict[str, TrainedOn]:
    """What the encoders are called where a city is tested.

    Those of few cities take the ones that follow the tested one in the list of names,
    which begins anew at its end; so each city teaches as often as any other, and the
    cities of a smaller number are among those of a larger one.

    Args:
        names: Of all cities, sorted.
        tested: One of them.
        num_cities: See `TransferSettings`.
    """
    place = names.index(tested)
    others = [*names[place + 1 :], *names[:place]]
    made = {
        ALL: TrainedOn("all", tuple(names)),
        UNSEEN: _of(others, f"without {tested}"),
    }
    if 1 in num_cities:
        made[OWN] = _of([tested], "")
    for number in sorted(set(num_cities)):
        if number < len(others):
            words = "1 other city" if number == 1 else f"{number} other cities"
            made[words] = _of(others[:number], f"{number} behind {tested}")
    return made


def to_train(
    names: Sequence[str], tested: Sequence[str], num_cities: Sequence[int]
) -> list[TrainedOn]:
    """Every encoder that some tested city needs, once.

    Raises:
        InputError: If there is one city alone, or a tested one is none of them.
    """
    if len(names) < 2:
        raise InputError(
            f"config.corpus.records names one city, {names[0]}; leaving a city out "
            "needs at least two."
        )
    if unknown := sorted(set(tested) - set(names)):
        raise InputError(
            f"config.transfer.tested names {', '.join(map(repr, unknown))}; the cities "
            f"are {', '.join(names)}."
        )
    needed = {
        one.cities: one
        for city in tested
        for one in roles(names, city, num_cities).values()
    }
    return list(needed.values())


def _of(cities: Sequence[str], words: str) -> TrainedOn:
    """An encoder of some cities; one of a single city is the same for whomever."""
    words = f"only {cities[0]}" if len(cities) == 1 else words
    return TrainedOn(files.safe_name(words.replace(" ", "_")), tuple(sorted(cities)))
