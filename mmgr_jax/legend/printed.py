"""Numbers as legends and scale bars print them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float | int) -> str:
    """Formats a break: thousands are separated, with no exponent within 1e-4 .. 1e9."""
    if value and not 1e-4 <= abs(value) < 1e9:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.10g}"
    return text.replace("-", "\N{MINUS SIGN}")


def classes(edges: Sequence[float | int]) -> list[str]:
    """Names each class between breaks, such as "20 to 50"; the end classes are open.

    Args:
        edges: Increasing breaks, at least one.
    """
    numbers = [number(edge) for edge in edges]
    between = [
        f"{low} to {high}" for low, high in zip(numbers[:-1], numbers[1:], strict=True)
    ]
    return [f"below {numbers[0]}", *between, f"{numbers[-1]} or more"]


def scale_bar_m(longest_m: float | int) -> float:
    """The largest length up to `longest_m` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(longest_m))
    return max(step * power for step in (1, 2, 5) if step * power <= longest_m)


def length(metres: float | int) -> str:
    """Formats a length, in km from 1,000 m on."""
    return f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"
