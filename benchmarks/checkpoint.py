"""How long saving a checkpoint blocks training, and how long restoring takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.table import Row

ABOUT = """Checkpoints: a state of parameters and Adam's two moments.

Ours blocks training while the state is copied, and writes it while training goes on.
blocks_s is the time of the call, save_s the time until the checkpoint is complete on
disk. The same state is also saved by Orbax alone as its guide shows
(StandardCheckpointer, which writes in the background, too), and by numpy.savez, which
blocks until the end. Ratios are the seconds of the others divided by ours. All run in
turns; medians are shown.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--mib", type=int, default=320, help="size of the state")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--folder", type=Path, help="disk to write to")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a save blocks, until it is whole, and to restore."""
    from benchmarks.measured import checkpoint  # libraries load once flags are fine

    return checkpoint.rows(options)
