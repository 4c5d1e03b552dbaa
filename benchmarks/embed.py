"""Embedding a city of many regions: seconds, regions a second, memory at the peak."""

from __future__ import annotations

import argparse

from benchmarks.table import Row

ABOUT = """A city embedded by `python -m mmgr_jax.embed`, as a user runs it.

The city has the tiles of 64 made photographs over and over, POI sets of its own for
each region, and neither labels nor heads; the weights are random, which take as long.
Records go through the writer of `data_prep`. The first run encodes, the second reads
what the first one kept. Memory is the proportional share (PSS) of the command and the
processes that it starts, sampled five times a second. --table writes a table of so many
small vectors by the same writer, and nothing else.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--regions", type=int, default=1600, help="of the city")
    parser.add_argument("--features", default="both", help="kind that is written")
    parser.add_argument("--table", type=int, help="rows of a table alone")
    parser.add_argument("--width", type=int, default=16, help="of its vectors")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row for each command."""
    from benchmarks.measured import embed  # libraries load once flags are fine

    return embed.rows(options)
