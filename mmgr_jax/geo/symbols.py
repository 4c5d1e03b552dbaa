"""Finds the power of ten to take out of the numbers on a colour bar."""

import math

import numpy as np
from jaxtyping import Float

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_thousand(breaks: Float[np.ndarray, " edges"]) -> int:
    """Finds the exponent of ten to take out of breaks before they are printed.

    Returns:
        0 if the largest break is at least 0.1 and below a million; else the multiple of
        3 that leaves the largest break one to three digits before the point.
    """
    digits = math.floor(math.log10(np.abs(breaks).max()))
    return 0 if -2 < digits < 6 else digits // 3 * 3


def with_power(unit: str, power: int) -> str:
    """Writes the unit for breaks from which 10 ** power was taken out."""
    if not power:
        return unit
    return f"\N{MULTIPLICATION SIGN} 10{str(power).translate(_RAISED)} {unit}".rstrip()
