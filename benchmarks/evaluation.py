"""Evaluations of made-up cities of several sizes: seconds, memory, exponents."""

from __future__ import annotations

import argparse

from benchmarks.table import Row

ABOUT = """Everything of an evaluation behind the features, as config.eval stands.

Made-up fields over the city decide three labels (shares of ten classes, two counts)
and, with noise, the features of two encoders and the baselines, which lie in files as
those of a checkpoint do. All methods, protocols and splits, label curves, health,
retrieval, applicability and report.json. Each size runs in a process of its own; memory
is that of all its processes.
"""

REGIONS = (1600, 6400, 25600)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--regions", type=int, nargs="+", default=REGIONS)
    parser.add_argument("--image", type=int, default=2048, help="features of a tile")
    parser.add_argument("--poi", type=int, default=128, help="of a POI set")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row a size."""
    from benchmarks.measured import evaluation  # libraries load once flags are fine

    return evaluation.rows(options)
