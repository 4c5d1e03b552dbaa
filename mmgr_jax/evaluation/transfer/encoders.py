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
    """An encoder and its training cities.

    Attributes:
        folder: Name of the run that trains the encoder.
        cities: Cities whose tiles and POIs it is trained on, sorted.
    """

    folder: str
    cities: tuple[str, ...]


def roles(
    names: Sequence[str], tested: str, num_cities: Sequence[int]
) -> dict[str, TrainedOn]:
    """Returns the encoders for a tested city, by their role.

    Encoders of few cities are trained on the cities that follow the tested one in the
    list of names; after its end, the list starts again. So each city is used for
    training equally often, and the cities of a smaller number are among those of a
    larger number.

    Args:
        names: Names of all cities, sorted.
        tested: The tested city, one of the names.
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
    """Lists every encoder that some tested city needs, each once.

    Raises:
        InputError: If there is only one city, or a tested city is not in `names`.
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
