"""`mmgr`: the commands of the program under one name, from any folder."""

from __future__ import annotations

import runpy
import sys

from mmgr_jax import __version__
from mmgr_jax.settings import nearest

COMMANDS = {
    "init": ("mmgr_jax.init", "writes the first config of a city from its files"),
    "fetch": ("data_prep.fetch", "imagery, POIs and labels of an area, and a config"),
    "build": ("data_prep.build", "makes records from raw files"),
    "validate": ("data_prep.validate", "checks sources and records; a page to look at"),
    "main": ("mmgr_jax.main", "all steps: records, training, evaluation, maps"),
    "train": ("mmgr_jax.main", "the same as main"),
    "eval": ("mmgr_jax.eval", "what features are worth: heads, baselines, report"),
    "embed": ("mmgr_jax.embed", "embeddings as GeoParquet, predictions, maps"),
    "explore": (
        "mmgr_jax.explore",
        "an interactive page: similar regions, labels, a map",
    ),
    "query": ("mmgr_jax.query", "regions ranked by a text"),
    "views": ("mmgr_jax.views", "tiles beside the views that training makes of them"),
    "compare": ("mmgr_jax.compare", "several runs side by side"),
    "ablation": ("mmgr_jax.ablation", "trains with each loss alone, and compares"),
    "transfer": (
        "mmgr_jax.transfer",
        "tests a model of many cities in a city it has not seen",
    ),
    "convert": ("mmgr_jax.convert", "reads weights of PyTorch files, writes encoders"),
    "plan": ("mmgr_jax.plan", "memory and hours of a training on other machines"),
    "import_released": ("data_prep.import_released", "the released sample to records"),
    "category_embedding": (
        "data_prep.category_embedding",
        "makes the vectors of POI categories again",
    ),
}
"""Name -> its module, and what it does."""


def main() -> None:
    """Entry point of `mmgr`."""
    arguments = sys.argv[1:]
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help", "--helpshort", "--helpfull"):
        print(usage())
    elif name == "--version":
        print(__version__)
    elif name in COMMANDS:
        module, _ = COMMANDS[name]
        sys.argv = [f"mmgr {name}", *arguments[1:]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        print(
            f"error: mmgr {name}: there is no such command{nearest(name, COMMANDS)}. "
            "See mmgr --help.",
            file=sys.stderr,
        )
        sys.exit(2)


def usage() -> str:
    """What `mmgr --help` says."""
    lines = [
        f"MMGR-JAX {__version__}: region embeddings from imagery and POIs",
        "",
        "  mmgr COMMAND --config=FILE [--config.KEY=VALUE ...]",
        "  mmgr COMMAND --help",
        "  mmgr COMMAND ... --quiet      the paths of the files written alone",
        "  mmgr COMMAND ... --verbose    with times, libraries' own lines, tracebacks",
        "",
        *(f"  {name:20}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "A generated city, from nothing to the maps in minutes:",
        "  mmgr main --config=toy_city",
    ]
    return "\n".join(lines)
