"""How numbers and classes become colours: breaks, palettes, printed values."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import to_hex

LAND_USE = {
    "forest": "#002d1b",
    "water": "#4699de",
    "unutilised": "#fffbe6",
    "transportation": "#5e5e6e",
    "green_space": "#98f192",
    "industrial": "#712c8a",
    "educational_governmental": "#ef93b7",
    "commercial": "#ae0004",
    "residential": "#ffd519",
    "agricultural": "#9eaa31",
}
"""Colours in the custom of land-use maps, at least 25 CIELAB units apart for normal,
protan, deutan and tritan sight (Machado et al. 2009, severity 1)."""

OTHER_CLASSES = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
)
"""Paul Tol's muted scheme, for classes with other names."""

SHARE_ERROR_BREAKS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
"""Breaks of the L1 error of shares: fixed, so that maps can be compared."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def quantile_breaks(
    values: Float[np.ndarray, " m"], quantiles: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " edges"]:
    """Quantiles as edges of classes, rounded to 3 digits.

    Args:
        values: Finite values, at least one.
        quantiles: Increasing from 0 to 1; ties and rounding may leave fewer edges.

    Returns:
        At least two increasing edges; the outer ones enclose all values.
    """
    edges = np.quantile(values, quantiles)
    inner = [_round(edge) for edge in edges[1:-1]]
    low, high = _round(edges[0], math.floor), _round(edges[-1], math.ceil)
    if low == high:
        high = low + (abs(low) or 1.0)
    inside = {edge for edge in inner if low < edge < high}
    return np.array([low, *sorted(inside), high])


def symmetric_breaks(
    errors: Float[np.ndarray, " m"], quantiles: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " edges"]:
    """Edges mirrored around zero, with quantiles of |error| as magnitudes.

    The class in the middle spans zero and holds the smallest errors.

    Args:
        errors: Finite values, at least one.
        quantiles: Increasing from 0 to 1; n of them give 2 n - 3 classes.

    Returns:
        An even number of increasing edges, the negative of itself reversed.
    """
    positive = quantile_breaks(np.abs(errors), quantiles)[1:]
    return np.concatenate([-positive[::-1], positive])


def class_colors(classes: Sequence[str]) -> list[str]:
    """One colour a class: `LAND_USE` by name, the others from `OTHER_CLASSES`."""
    unknown = [name for name in classes if name not in LAND_USE]
    palette: Sequence[str] = OTHER_CLASSES
    if len(unknown) > len(palette):
        palette = [
            to_hex(c) for c in colormaps["turbo"](np.linspace(0, 1, len(unknown)))
        ]
    given = dict(zip(unknown, palette, strict=False))
    return [LAND_USE.get(name) or given[name] for name in classes]


def power_of_thousand(breaks: Float[np.ndarray, " edges"]) -> int:
    """The exponent of ten to take out of breaks before they are printed.

    Returns:
        0 where the largest break is at least 0.1 and below a million, else the
        multiple of 3 that leaves it one to three digits before the point.
    """
    digits = math.floor(math.log10(np.abs(breaks).max()))
    return 0 if -2 < digits < 6 else digits // 3 * 3


def with_power(unit: str, power: int) -> str:
    """The unit beside breaks from which 10 ** power was taken out."""
    if not power:
        return unit
    return f"\N{MULTIPLICATION SIGN} 10{str(power).translate(_RAISED)} {unit}".rstrip()


def number(value: float) -> str:
    """A break as printed: thousands apart, no exponent within 1e-4 .. 1e9."""
    if value and not 1e-4 <= abs(value) < 1e9:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.10g}"
    return text.replace("-", "\N{MINUS SIGN}")


def scale_bar_m(longest_m: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is not above `longest_m`."""
    power = 10.0 ** math.floor(math.log10(longest_m))
    return max(step * power for step in (1, 2, 5) if step * power <= longest_m)


def length(metres: float) -> str:
    """A length as printed, in km from 1,000 m on."""
    return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"


def _round(value: float, how: Callable[[float], int] = round) -> float:
    """To three significant digits, up or down as `how` says."""
    if value == 0:
        return 0.0
    decimals = 2 - math.floor(math.log10(abs(value)))
    return float(f"{how(value * 10.0**decimals)}e{-decimals}")
