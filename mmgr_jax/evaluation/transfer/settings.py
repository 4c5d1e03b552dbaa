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
        num_cities: Numbers of other cities that encoders are trained on, beside one of
            all others and one of all cities; with 1 there is also one of each tested
            city alone.
        num_labels: Numbers of labels of the tested city that adapt the heads of the
            others; (): none.
        num_draws: Random choices of each number of labels.
        standardise: By what features are standardised for heads of other cities:
            "all", mean and deviation of the cities with labels; "city", each city's
            own, which takes a city's light away, and with it how dense or rich it is.
        factors: (city, label, factor): its values are multiplied by that and are then
            in the unit of the same label elsewhere.
        years: Whether a label of another year is the same label: "same" leaves labels
            out whose years differ, "any" does not look.
    """

    tested: tuple[str, ...] = ()
    num_cities: tuple[Annotated[int, at.Ge(1)], ...] = (1, 2, 4)
    num_labels: tuple[Annotated[int, at.Ge(2)], ...] = (10, 25, 100)
    num_draws: Annotated[int, at.Ge(1)] = 5
    standardise: Literal["all", "city"] = "all"
    factors: tuple[tuple[str, str, float], ...] = ()
    years: Literal["same", "any"] = "same"
