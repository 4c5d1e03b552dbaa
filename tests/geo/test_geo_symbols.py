"""The power of ten that is taken out of long numbers."""

import numpy as np
import pytest

from mmgr_jax.geo import symbols


@pytest.mark.parametrize(
    ("largest", "power", "unit"),
    [
        (7_490.0, 0, "persons"),
        (999_000.0, 0, "persons"),
        (1_000_000.0, 6, "\N{MULTIPLICATION SIGN} 10\u2076 persons"),
        (220e9, 9, "\N{MULTIPLICATION SIGN} 10\u2079 persons"),
        (0.45, 0, "persons"),
        (0.01, -3, "\N{MULTIPLICATION SIGN} 10\u207b\u00b3 persons"),
        (2.66e-5, -6, "\N{MULTIPLICATION SIGN} 10\u207b\u2076 persons"),
    ],
)
def test_long_numbers_share_a_power_of_a_thousand(largest, power, unit):
    edges = np.array([-largest, 0.0, largest / 2])
    assert symbols.power_of_thousand(edges) == power
    assert symbols.with_power("persons", power) == unit
