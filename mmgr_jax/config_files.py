"""Finds the configs that come with the program, and makes `configs.common` importable.

In a checkout they are in the folder `configs/` beside the packages. A wheel holds them
in `mmgr_jax/shipped/configs`, because `configs` is too common a name to install.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder() -> Path:
    """The folder of the configs that come with the program."""
    shipped = _PACKAGE / "shipped/configs"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "configs"


def make_importable() -> None:
    """Makes `from configs import common` work in a config in any folder.

    A package `configs` in the user's current folder has priority.
    """
    place = str(folder().parent)
    if place not in sys.path:
        sys.path.append(place)


def resolved(name: str) -> str:
    """The path of a config with its variant: the user's own, or else a shipped one.

    Args:
        name: A path, or the name of the user's or a shipped config, such as "toy_city".
            Both may end in ":variant".
    """
    path, mark, variant = name.partition(":")
    if Path(path).exists():
        return name
    plain = Path(path).with_suffix(".py")
    if plain.parent not in (Path(), Path("configs")):
        return name
    for place in (Path("configs") / plain.name, folder() / plain.name):
        if place.is_file():
            return f"{place}{mark}{variant}"
    return name
