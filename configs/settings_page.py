"""docs/settings.md, made of the sections: `python -m configs.settings_page`."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import common
from data_prep.labels.settings import LabelSettings
from mmgr_jax.models.settings import POI_ENCODERS
from mmgr_jax.parts import kind_of
from mmgr_jax.settings import hints_of

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

HEAD = """# Settings

Every setting of a config, with its type, default and meaning. To set one, write a line
`c.section.name = value` in the config, or give `--config.section.name=value` with a
command for this run only. A wrong name, type or value is refused, and the error names
the line of the config. A *duration* is a text such as "120 epochs", "500 steps",
"1e6 examples" or "10 percent".

`python -m configs.settings_page` makes this page from the settings classes, which stand
beside the code that reads them. Change the texts there.
"""

TYPES = {
    bool: "True or False",
    int: "whole number",
    float: "number",
    str: "text",
    type(None): "None",
}
BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}


def text() -> str:
    """The page."""
    config = common.base("NAME", crs="EPSG:32633")
    parts = [HEAD, *_section(kind_of(config), "", config)]
    for name, part in config.items():
        if kind := kind_of(part):
            parts += _section(kind, name, part)
    for name, kind in POI_ENCODERS.items():
        parts += _section(kind, f"model.poi_encoder, {name}", {})
    parts += _section(LabelSettings, "labels.LABEL", {})
    return "\n".join(parts)


def _section(kind: Any, key: str, values: Mapping[str, Any] | ConfigDict) -> list[str]:
    """The heading and table of a section, then those of the sections in it.

    Args:
        kind: Its dataclass.
        key: Where it stands in a config.
        values: Defaults that differ from those of the dataclass.
    """
    sentence, meanings = _documented(kind)
    source = kind.__module__.replace(".", "/")
    hints = hints_of(kind)
    lines = [
        f"## {f'`{key}`' if key else 'At the top'}\n",
        f"{sentence} (`{source}.py`)\n",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    within = []
    for field in dataclasses.fields(kind):
        value = values[field.name] if field.name in values else _default(field)
        if inner := kind_of(value):
            within += _section(inner, f"{key}.{field.name}".lstrip("."), value)
            continue
        cells = (
            f"`{field.name}`",
            words(hints[field.name]),
            "required" if value is dataclasses.MISSING else f"`{_plain(value)!r}`",
            meanings[field.name],
        )
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return [*lines, "", *within]


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def words(hint: Any) -> str:
    """A type in words, such as "number, above 0"."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{choice!r}`" for choice in inside)
    if origin is typing.Annotated:
        bounds = [_bound(bound) for bound in inside[1:]]
        return ", ".join([words(inside[0]), *filter(None, bounds)])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(words, inside))
    if origin is tuple and inside[-1] is Ellipsis:
        return f"several: {words(inside[0])}"
    if origin is tuple:
        return f"({'; '.join(map(words, inside))})"
    if origin is Sequence:
        return f"several: {words(inside[0])}"
    if origin is Mapping:
        return "names with values"
    return TYPES.get(hint, "anything")


def _bound(bound: Any) -> str:
    for name, word in BOUNDS.items():
        if hasattr(bound, name):
            return f"{word} {getattr(bound, name)}"
    return "one or more" if getattr(bound, "min_length", 0) == 1 else ""


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _documented(kind: type) -> tuple[str, dict[str, str]]:
    """What the docstring of a section says: in a sentence, and of each field."""
    entries = {}
    for base in reversed(kind.__mro__):
        _, _, attributes = (inspect.getdoc(base) or "").partition("Attributes:\n")
        entries |= re.findall(
            r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE
        )
    sentence = (inspect.getdoc(kind) or "").splitlines()[0]
    return sentence, {name: " ".join(text.split()) for name, text in entries.items()}


if __name__ == "__main__":
    argparse.ArgumentParser(
        "python -m configs.settings_page", description=__doc__
    ).parse_args()
    PAGE.write_text(text(), encoding="utf-8")
