"""What the command line of the benchmarks does.

A section is a module of this package with

    ABOUT      what it measures and beside whom, for --help
    add_flags  (parser) -> None: its own flags
    rows       (options) -> a list of dicts, one a line of the table

Only the section that is asked for is imported, so that one section runs where the
libraries of another are not installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import table
from mmgr_jax import environment

SECTIONS = {
    "step": "the ResNet-50 training step, beside PyTorch",
    "inference": "images to features by ResNet-50, beside PyTorch",
    "losses": "the contrastive losses, beside the released formula and optax",
    "input": "records to device: tiles a second and a core",
    "augment": "two views on the device, beside torchvision's transforms",
    "poi": "the POI encoders, beside torch_geometric's Set2Set",
    "checkpoint": "how long saving blocks, how long restoring takes",
    "startup": "imports, compilation, the first step; with a warm cache",
    "probe": "the heads of the evaluation, beside scikit-learn",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m benchmarks`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments[0] if arguments else None)
    options = parser.parse_args(arguments)
    environment.refuse_unknown_flags()
    rows = importlib.import_module(_module(options.section)).rows(options)
    print(table.table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


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
