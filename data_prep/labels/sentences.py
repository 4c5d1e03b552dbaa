"""Writes the report of a label's source in words, for a log and a page."""

from __future__ import annotations

from collections.abc import Mapping

NONE_MISSING = "every region has a value"


def in_words(report: Mapping[str, float | int]) -> str:
    """Returns a label's part of the build's report as a list of phrases.

    Args:
        report: Name of a figure -> figure, as the manifest keeps it.
    """
    return "; ".join(_phrase(name, value) for name, value in report.items())


def _phrase(name: str, value: float | int) -> str:
    if name == "regions without a value":
        return f"{value:,} regions have no value" if value else NONE_MISSING
    if name == "mean covered share":
        return f"the source covers {value:.1%} of a region's area on average"
    return f"{name}: {value:,.6g}"
