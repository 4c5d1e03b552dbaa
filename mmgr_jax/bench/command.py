"""What the command line of the benchmarks does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmgr_jax.bench import losses

_ABOUT = """Measures a part of the program beside others that do the same.

losses    Both contrastive losses, forward and backward: seconds and peak memory of the
          released formula in PyTorch (similarities by broadcasting), of optax's ntxent,
          of the dense formula under jit and of ours in tiles, each in a process of its
          own, in turns. With --topology instead: what the compiler plans for TPUs one
          need not have (pip install -r requirements-plan.txt).
"""


def main() -> None:
    """Entry point of `python -m mmgr_jax.bench`."""
    parser = argparse.ArgumentParser(
        prog="python -m mmgr_jax.bench",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("section", choices=("losses",))
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        help="regions of the global batch (default: 128 384 768; with --topology "
        "32768 262144)",
    )
    parser.add_argument("--topology", help="TPUs to compile for, such as v5e:16x16")
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    if options.topology:
        rows = losses.compiled(options.topology, options.batch or (32768, 262144))
    else:
        rows = losses.measured(options.batch or (128, 384, 768))
    print(losses.table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
