"""What the command line of the benchmarks does.

A section is a module of this package with

    ABOUT      what it measures and beside whom, for --help
    add_flags  (parser) -> None: its own flags
    rows       (options) -> a list of dicts, one a line of the table

Each figure is a median; columns `NAME_low` and `NAME_high` hold the quartiles of the
rounds. Load and doubts are printed below the table, see `benchmarks.table`.

Only the section that is asked for is imported, so that one section runs where the
libraries of another are not installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import table
from mmgr_jax import environment

SECTIONS = {
    "step": "the ResNet-50 training step, beside PyTorch",
    "largest": "the largest batch of that step which one device holds",
    "trace": "where the time of that step goes, by JAX's profiler",
    "losses": "the contrastive losses, beside PyTorch and optax",
    "inference": "images to features by ResNet-50, beside PyTorch",
    "input": "records to device: tiles a second and a core",
    "corpus": "a corpus of cities opened, ordered and read: how that grows",
    "augment": "two views on the device, beside torchvision's transforms",
    "poi": "the POI encoders, beside torch_geometric's Set2Set",
    "checkpoint": "how long saving blocks, how long restoring takes",
    "startup": "imports, compilation, the first step; with a warm cache",
    "evaluation": "everything behind the features, from 1,600 regions to 102,400",
    "embed": "a city embedded as a user does it: seconds, memory at the peak",
    "change": (
        "change between years: rebuilt blocks of generated cities that are "
        "found, and false ones"
    ),
    "probe": "the heads of the evaluation, beside scikit-learn",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m benchmarks`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments[0] if arguments else None)
    options = parser.parse_args(arguments)
    environment.refuse_unknown_flags()
    report = table.Report(options.section)
    rows = importlib.import_module(_module(options.section)).rows(options)
    report.tell(rows, table.table(rows), options.json)


def _parser(section: str | None) -> argparse.ArgumentParser:
    """The parser of a section's flags; without one, of the list of sections."""
    here = [name for name in SECTIONS if importlib.util.find_spec(_module(name))]
    listed = "\n".join(f"  {name:12}{SECTIONS[name]}" for name in here)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures a part of the program beside others that do the same.",
        epilog=f"{listed}\n\nMore about one: python -m benchmarks SECTION --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("section", choices=here)
    parser.add_argument("--json", type=Path, help="file for the result")
    if section in here:
        module = importlib.import_module(_module(section))
        parser.description, parser.epilog = module.ABOUT, None
        module.add_flags(parser)
    return parser


def _module(section: str) -> str:
    return f"benchmarks.{section}"
