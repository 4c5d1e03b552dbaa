"""Every section of the program, found by importing the modules that may hold one."""

import importlib
from pathlib import Path

from mmgr_jax import settings

ROOT = Path(__file__).parents[1]
ROOMS = ("mmgr_jax", "data_prep")


def sections(kind=settings.Section):
    """All sections of the program, wherever they stand."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        if path.stem.endswith("settings") and path.stem != "settings_page":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            importlib.import_module(module)
    yield from _below(kind)


def _below(kind):
    for of in kind.__subclasses__():
        if of.__module__.startswith(ROOMS):
            yield of
        yield from _below(of)
