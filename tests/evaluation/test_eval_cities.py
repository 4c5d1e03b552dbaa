"""What several cities have in common, and what is said of the rest."""

import logging

import numpy as np
import pytest

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import cities

COUNT = Label("count", "persons", year=2020)


def _city(**labels):
    return {name: (label, np.zeros(2)) for name, label in labels.items()}


def _said(caplog, *given):
    with caplog.at_level(logging.INFO):
        found = cities.shared_labels(given)
    return set(found), [(r.levelno, r.getMessage()) for r in caplog.records]


def test_a_label_that_differs_is_told_with_both_values(caplog):
    shared, told = _said(
        caplog,
        _city(population=COUNT, gdp=Label("count", "million CNY")),
        _city(population=COUNT, gdp=Label("count", "million USD")),
    )
    assert shared == {"population"}
    assert told == [
        (
            logging.WARNING,
            "cities: label gdp is left out: its unit is 'million CNY' here and "
            "'million USD' there",
        )
    ]


def test_a_label_that_is_absent_is_not_said_to_differ(caplog):
    shared, told = _said(
        caplog,
        _city(population=COUNT, function=Label("share", "1", ("a", "b"))),
        _city(population=COUNT, light=COUNT),
    )
    assert shared == {"population"}
    assert told == [
        (logging.INFO, "cities: label function is not in all, left out"),
        (logging.INFO, "cities: label light is not in all, left out"),
    ]


def test_a_label_that_differs_between_others_is_told_though_the_first_lacks_it(caplog):
    three = (
        _city(a=COUNT),
        _city(a=COUNT, b=COUNT),
        _city(a=COUNT, b=Label("scalar", "")),
    )
    shared, told = _said(caplog, *three)
    assert (
        shared == {"a"} and "its kind is 'count' here and 'scalar' there" in told[0][1]
    )


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="no label has the same name, kind, unit"):
        cities.shared_labels([_city(a=COUNT), _city(b=COUNT)])
