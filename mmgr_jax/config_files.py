"""Configs that come with the program, and how a config finds `configs.common`.

In a checkout they are the folder `configs/` beside the packages. A wheel carries them
as `mmgr_jax/shipped/configs`, so that nothing is installed under so common a name.
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
    """Has `from configs import common` work wherever a config lies.

    A package `configs` of the folder that the user is in goes first.
    """
    place = str(folder().parent)
    if place not in sys.path:
        sys.path.append(place)


def resolved(name: str) -> str:
    """The path of a config, with its variant: the user's own, else one that we ship.

    Args:
        name: A path, or the name of a config of yours or of ours, such as "toy_city",
            each with ":variant" or without.
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
