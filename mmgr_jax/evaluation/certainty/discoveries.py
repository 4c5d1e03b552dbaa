"""Which of many tests found something: p values from data, and false discoveries.

Reference:
    P values from named cases: Bates, Candes, Lei, Romano and Sesia (2023), Annals of
    Statistics 51(1):149-178, doi 10.1214/22-AOS2244. From the side without signals:
    Barber and Candes (2015), Annals of Statistics 43(5):2055-2085,
    doi 10.1214/15-AOS1337. Benjamini and Hochberg (1995), JRSS B 57(1):289-300.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

WIDER = 1.15
"""How much further unchanged pairs lie above their middle than below: 1.1 to 1.4 times
in ten generated cities."""

_TINY = 1e-12


def by_named(
    values: Float[np.ndarray, " n"], unchanged: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """P values beside pairs known to be unchanged: valid if these are like the others.

    Args:
        values: Of the pairs to be tested.
        unchanged: Of those that are known.
    """
    known = np.sort(unchanged)
    as_large = len(known) - np.searchsorted(known, values, side="left")
    return (1 + as_large) / (1 + len(known))


def by_mirror(
    values: Float[np.ndarray, " n"], *, wider: float = WIDER
) -> Float[np.ndarray, " n"]:
    """P values beside the lower half, mirrored at the median.

    Where some pairs changed, the median lies too high and the half is too wide: fewer
    are called changed, not more.

    Args:
        values: Of the pairs.
        wider: By which the mirrored half is stretched.
    """
    above = values - np.median(values)
    below = -above[above < 0]
    return by_named(above, np.concatenate([wider * below, -below]))


def by_readings(
    values: Float[np.ndarray, " n"], readings: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """P values beside readings of the same pictures, which two years differ more than.

    Both are compared by how far they are above their own median, in units of how far
    the lowest eighth is below it.

    Args:
        values: Of the pairs.
        readings: Of pictures read again.
    """
    return by_named(*(_from_middle(part) for part in (values, readings)))


def adjusted(p_value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Q values by Benjamini and Hochberg; NaN where there is no p value."""
    tested = np.flatnonzero(np.isfinite(p_value))
    order = tested[np.argsort(p_value[tested], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    rates = p_value[order] * len(order) / rank
    q_value = np.full(len(p_value), np.nan)
    q_value[order] = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1)
    return q_value


def _from_middle(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    low, middle = np.quantile(values, [0.125, 0.5])
    return (values - middle) / max(float(middle - low), _TINY)
