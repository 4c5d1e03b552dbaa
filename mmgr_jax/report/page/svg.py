"""Makes pieces of SVG: labels, scales with round ticks, and the frame of a chart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from mmgr_jax.report.page.tree import Element, element, shown

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31",
    "#7f7f7f",
)  # fmt: skip
"""Okabe and Ito (2008): told apart with any colour vision."""

DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""Of lines, once the colours are used up."""

TICKS = 5
Number = float | int
"""JSON tells 1 from 1.0, and so does Python."""

WIDEST_LOG = 1e-12


def label(x: Number, y: Number, words: str, **attributes: object) -> Element:
    """A line of text."""
    return element("text", words, x=float(x), y=float(y), **attributes)


def told(words: str) -> Element:
    """The text that a browser shows where the pointer rests."""
    return element("title", words)


def chart(
    width: Number,
    height: Number,
    parts: Iterable[Element],
    *,
    name: str,
    **attributes: str,
) -> Element:
    """A picture that shrinks with the page; `name` is read out by screen readers."""
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {shown(float(width))} {shown(float(height))}",
        style=f"max-width:{width:.0f}px",
        role="img",
        aria_label=name,
        **attributes,
    )


@dataclasses.dataclass(frozen=True)
class Axis:
    """Maps values to pixels, on a linear or logarithmic scale.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`.
        log: Whether the scale is logarithmic.
    """

    low: Number
    high: Number
    start: Number
    end: Number
    log: bool = False

    def __call__(self, value: Number) -> float:
        """The pixel of a value; values beyond the ends are put at the ends."""
        low, high, at = (self._inner(v) for v in (self.low, self.high, value))
        part = min(max((at - low) / (high - low or 1.0), 0.0), 1.0)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[Number]:
        """Round values within the ends."""
        if self.log:
            return _log_ticks(self.low, self.high)
        return _round_ticks(self.low, self.high)

    def _inner(self, value: Number) -> float:
        return math.log10(max(value, WIDEST_LOG)) if self.log else value


def scale(
    values: Iterable[Number],
    start: Number,
    end: Number,
    *,
    log: bool = False,
    include: Sequence[Number] = (),
) -> Axis:
    """Makes a scale that holds all finite values, with some space on either side."""
    known = [v for v in (*values, *include) if math.isfinite(v) and (v > 0 or not log)]
    if not known:
        return Axis(0.1 if log else 0.0, 1.0, start, end, log)
    low, high = min(known), max(known)
    if log:
        room = (high / low) ** 0.04 if high > low else 2.0
        return Axis(low / room, high * room, start, end, log)
    room = 0.05 * (high - low) or 0.5
    return Axis(low - room, high + room, start, end, log)


def axes(
    x: Axis,
    y: Axis,
    *,
    x_name: str,
    y_name: str,
    x_ticks: Sequence[Number] | None = None,
    x_format: Callable[[Number], str] | None = None,
) -> list[Element]:
    """Draws grid, ticks and names of both axes; y grows upwards."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    parts = []
    for value in x.ticks() if x_ticks is None else x_ticks:
        at = x(value)
        parts += [
            element("line", x1=at, x2=at, y1=bottom, y2=top, class_="grid"),
            label(at, bottom + 15, (x_format or tick)(value), class_="tick middle"),
        ]
    for value in y.ticks():
        at = y(value)
        parts += [
            element("line", x1=left, x2=right, y1=at, y2=at, class_="grid"),
            label(left - 6, at + 4, tick(value), class_="tick end"),
        ]
    middle = (bottom + top) / 2
    return [
        *parts,
        element("path", d=f"M{left} {top}V{bottom}H{right}", class_="axis"),
        label((left + right) / 2, bottom + 34, x_name, class_="name middle"),
        label(
            left - 46, middle, y_name, class_="name middle",
            transform=f"rotate(-90 {left - 46:.1f} {middle:.1f})",
        ),
    ]  # fmt: skip


def number(value: Number | None) -> str:
    """Formats a measured number: three digits, with separated thousands."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.2g}".replace("-", "−")
    decimals = min(max(0, 2 - math.floor(math.log10(size))), 3)
    text = f"{value:,.{decimals}f}"
    return "0" if not text.strip("-0.") else text.replace("-", "−")


def tick(value: Number) -> str:
    """Formats a chosen number, such as one on an axis, without zeros at its end."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: Number) -> str:
    """Formats a measured share as a percentage."""
    return f"{number(100 * value)} %"


def _round_ticks(low: Number, high: Number) -> list[Number]:
    rough = (high - low) / TICKS
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= 0.7 * rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: Number, high: Number) -> list[Number]:
    """1, 2 and 5 times powers of ten; only the powers if there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [
        m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high
    ]
    coarse = [10.0**p for p in powers if low <= 10.0**p <= high]
    return fine if len(fine) <= 2 * TICKS or len(coarse) < 2 else coarse
