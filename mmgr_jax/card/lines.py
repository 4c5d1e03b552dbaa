"""Makes lines of Markdown from any text, number or None."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

UNKNOWN = "not recorded"


def listed(names: Sequence[str]) -> str:
    """Lists each text once, in the order given."""
    return ", ".join(dict.fromkeys(map(str, names)))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""
    lines = [
        head,
        ["---"] * len(head),
        *(list(map(cell, row)) for row in rows),
    ]
    return ["| " + " | ".join(line) + " |" for line in lines]


def cell(value: Any) -> str:
    """Makes any value safe to stand in one line of Markdown."""
    if value is None or value == "":
        return UNKNOWN
    line = " ".join(str(value).split())
    return re.sub(r"([|<>])", r"\\\1", line)


def number(value: Any) -> str:
    """Formats a number with four digits; 0 counts as no number."""
    return f"{value:.4g}" if value else UNKNOWN
