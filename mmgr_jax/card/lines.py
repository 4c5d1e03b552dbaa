"""Lines of Markdown of whatever text, number or None."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

UNKNOWN = "not recorded"


def listed(names: Sequence[str]) -> str:
    """Each once, in their order."""
    return ", ".join(dict.fromkeys(map(str, names)))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table, a line each."""
    lines = [
        head,
        ["---"] * len(head),
        *(list(map(cell, row)) for row in rows),
    ]
    return ["| " + " | ".join(line) + " |" for line in lines]


def cell(value: Any) -> str:
    """A value in a line of Markdown, whatever text it is."""
    if value is None or value == "":
        return UNKNOWN
    line = " ".join(str(value).split())
    return re.sub(r"([|<>])", r"\\\1", line)


def number(value: Any) -> str:
    """A number of four digits; 0 is none."""
    return f"{value:.4g}" if value else UNKNOWN
