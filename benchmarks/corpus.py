"""A corpus of many cities: opened, ordered and read, at growing numbers of regions."""

from __future__ import annotations

import argparse

from benchmarks.table import Row

ABOUT = """A corpus of cities, in a process of its own for each number of regions.

Opened: all folders, the first time (every byte is checked) and again. Order: batches a
second of the order alone, and the time of one batch a million steps on, which is asked
for at once. Read: batches a second with tiles and POIs. Memory is the process's own
(PSS): after opening, after the order, after reading, and the most.
All shards of all cities are hard links to one file, so that a million records take
seconds to make and little disk; each is opened, checked and read by itself. Tiles are
of 32 px: a larger tile adds to a batch, not to what grows with the regions. The first
opening checks links of one file, which stays in the page cache: of records that do not
fit there it takes as long as reading them.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--cities", type=int, default=100)
    parser.add_argument("--shards", type=int, default=8, help="of each city")
    parser.add_argument(
        "--regions", type=int, nargs="+", default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--batch", type=int, default=1024, help="regions a step")
    parser.add_argument("--side", type=int, default=32, help="px of a tile")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each number of regions."""
    from benchmarks.measured import corpus  # libraries load once flags are fine

    return corpus.rows(options)
