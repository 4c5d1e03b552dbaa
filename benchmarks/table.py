"""Prints rows of measurements as a table, with reasons to doubt them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax import terminal

Row = dict[str, Any]

NOISY = 1.2
"""Quartiles of the rounds' ratios further apart than by this factor: too noisy."""


class Report:
    """Report of a measurement; create it before, so that it knows the load."""

    def __init__(self, section: str) -> None:
        """Takes the name of the section, and the machine's load."""
        self.section = section
        self.load_before = os.getloadavg()[0]

    def tell(self, rows: Sequence[Row], text: str, path: str | Path | None) -> None:
        """Prints the text, the load and the doubts, and writes them with the rows.

        Args:
            rows: What was measured.
            text: The same to read.
            path: File for all of it as JSON; None for none.
        """
        load = (self.load_before, os.getloadavg()[0])
        cores = os.cpu_count() or 1
        sentences = doubts(rows, load, cores)
        print(text)
        print(f"load {load[0]:.2f} before, {load[1]:.2f} after, {cores} cores")
        print(*sentences, sep="\n", end="\n" * bool(sentences))
        if path:
            facts = {
                "section": self.section,
                "load_before": load[0],
                "load_after": load[1],
                "cores": cores,
                "doubts": sentences,
                "rows": list(rows),
            }
            Path(path).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def doubts(rows: Sequence[Row], load: tuple[float, float], cores: int) -> list[str]:
    """Why figures should not be trusted, one sentence each; none where they can be.

    Args:
        rows: With columns `NAME_low` and `NAME_high` beside `NAME`, see `turns`.
        load: Of the machine, before and after.
        cores: How many it has.
    """
    sentences = []
    if max(load) > cores:
        sentences.append(
            f"Too busy: a load of {max(load):.1f} on {cores} cores; measure again when "
            "nothing else runs."
        )
    for row in rows:
        for name in row:
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            if "ratio" in name and low and high and high > NOISY * low:
                label = next(iter(row.values()))
                sentences.append(
                    f"Too noisy: {name} of {label} lies between {low:.3g} and "
                    f"{high:.3g} in half of the rounds; measure again, or in more."
                )
    return sentences


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned columns, a column for each key that any of them has.

    Quartiles, `NAME_low` and `NAME_high`, stand in brackets in the column `NAME`.
    """
    rows = [_with_quartiles(row) for row in rows]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    cells = [heads, *([_cell(row.get(head)) for head in heads] for row in rows)]
    return "\n".join(terminal.columns(cells, left=0))


def _with_quartiles(row: Row) -> Row:
    cells = {}
    for head, value in row.items():
        low, high = row.get(f"{head}_low"), row.get(f"{head}_high")
        if low is not None and high is not None:
            cells[head] = f"{_cell(value)} ({_cell(low)}-{_cell(high)})"
        elif head.rpartition("_")[2] not in ("low", "high"):
            cells[head] = value
    return cells


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {kind}" for kind, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
