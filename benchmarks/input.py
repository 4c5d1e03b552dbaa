"""From records to batches on the device: every stored format, beside Pillow's."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.table import Row

ABOUT = """Records to batches, in each stored format.

Written and read: tiles a second of processor time, that is a core, alone; Pillow's in
the same turns. Batches: the same of the whole way, from the shards through reading,
decoding and padding to a batch in memory, in any number of threads; and tiles a second
of the clock on all cores of this machine. The released loader decodes PNG by Pillow
and makes its two views by torchvision on the host, where ours are made on the device;
it has one thread of torch, as each worker of a loader has.
Loss is given as the signal-to-noise ratio of the pixels and their largest error of 255.
Tiles are made, with the spectrum of photographs, or those of a records folder.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--records", type=Path, help="folder whose tiles are taken")
    parser.add_argument("--tiles", type=int, default=256, help="how many, at most")
    parser.add_argument("--size", type=int, default=224, help="px of those made")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of ours")
    parser.add_argument(
        "--no-peer", action="store_true", help="where there is no torchvision"
    )


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each format, and one of the released loader."""
    from benchmarks.measured import input  # libraries load once flags are fine

    return input.rows(options)
