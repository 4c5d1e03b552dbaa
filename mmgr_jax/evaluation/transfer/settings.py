"""The section `transfer` of configs/transfer.py."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class TransferSettings(Section):
    """What `mmgr_jax.transfer` trains and compares.

    Attributes:
        tested: Names of the cities that are left out, each in turn; (): all of them.
        num_cities: Numbers of other cities on which further encoders are trained. An
            encoder of all others and one of all cities are always trained. With 1,
            there is also an encoder of each tested city alone.
        num_labels: Numbers of labels of the tested city with which the heads of the
            others are adapted; (): none.
        num_draws: How often labels are drawn at random for each number.
        standardise: How features are standardised for heads of other cities. "all": by
            the mean and standard deviation of all cities with labels. "city": by those
            of each city, which removes the light of a city, but also how dense or rich
            it is.
        factors: (city, label, factor): the values of this label are multiplied by the
            factor, so that they have the same unit as in other cities.
        years: Whether labels of different years are compared. "same": labels whose
            years differ are left out. "any": years are ignored.
    """

    tested: tuple[str, ...] = ()
    num_cities: tuple[Annotated[int, at.Ge(1)], ...] = (1, 2, 4)
    num_labels: tuple[Annotated[int, at.Ge(2)], ...] = (10, 25, 100)
    num_draws: Annotated[int, at.Ge(1)] = 5
    standardise: Literal["all", "city"] = "all"
    factors: tuple[tuple[str, str, float], ...] = ()
    years: Literal["same", "any"] = "same"
