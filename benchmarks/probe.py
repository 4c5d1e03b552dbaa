"""The grid of linear heads, beside the same grid by scikit-learn in a loop."""

from __future__ import annotations

import argparse

from benchmarks.table import Row

ABOUT = """Linear heads of folds x label fractions x seeds x strengths, made-up data.

Ours as one vectorised job; scikit-learn's Ridge and LogisticRegression one after
another, features standardised by each subset, the strength chosen on its validation
regions. Both have one thread of BLAS and OpenMP: more of them wait for one another
longer than they work, on problems of this size, and that is no merit of the other side.
cpu_s are seconds of the processor. They take turns, cell for cell of the same grid: in
each round ours fits all cells, scikit-learn those of its share, and its seconds are in
proportion. The difference is the largest of any prediction of any region; shares beyond
it hang on how far scikit-learn is told to go (--tol). pip install scikit-learn.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--features", type=int, nargs="+", default=(128,))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--kinds", nargs="+", default=("count", "share", "class"))
    parser.add_argument("--tol", type=float, default=1e-4, help="of LogisticRegression")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="scikit-learn fits every n-th cell; its seconds are those times n",
    )


def rows(options: argparse.Namespace) -> list[Row]:
    """A row for each kind of label and number of features."""
    from benchmarks.measured import probe  # libraries load once flags are fine

    return probe.rows(options)
