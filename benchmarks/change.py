"""What `evaluation.change` finds of rebuilt blocks, and how much of it is wrong.

Generated cities in two years (`data_prep.toy_city.renewal`) whose rebuilt blocks are
known. The second year is another flight, registered a metre off; in the other half of
the trials it is also another season, under another sun and through haze. A region is
rebuilt where a quarter of it or more lies in such blocks; one that is called changed is
wrong where less than half a per cent does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.table import Row

ABOUT = __doc__


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of this section."""
    parser.add_argument("--encoder", help="run or encoder to read the tiles, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(17, 37)))
    parser.add_argument("--regions", type=int, default=20, help="a side of a city")
    parser.add_argument("--cache", type=Path, help="folder that keeps painted tiles")


def rows(options: argparse.Namespace) -> list[Row]:
    """A line for each encoder, second year and method."""
    from benchmarks.measured import change  # libraries load once flags are fine

    return change.rows(options)
