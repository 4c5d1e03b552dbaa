"""Joins JavaScript modules into one script, which a page without a server needs.

If a page lies on a disk, browsers load no modules from files beside it. So each module
becomes a function that returns its exports, and the modules that it imports from come
first. Only a few forms of import and export are understood: page/README.md lists them,
and others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ ([\w$, ]+) \} from "\./([\w-]+)\.js";', re.MULTILINE)
_EXPORT = re.compile(
    r"^export ((?:async )?function\*?|const|class) ([\w$]+)", re.MULTILINE
)
_OTHER = re.compile(r"^\s*(import\b(?!\.)|export\b)", re.MULTILINE)


def joined(modules: Mapping[str, str], entry: str) -> str:
    """Joins a module and all modules that it imports from into one script.

    Args:
        modules: Name without `.js` -> text.
        entry: The module that is run last.

    Raises:
        ValueError: If a module is missing, imports form a circle, or an import or
            export has a form that is not understood.
    """
    order: list[str] = []
    _visit(modules, entry, [], order)
    parts = ['"use strict";', *(_as_function(name, modules[name]) for name in order)]
    return "\n".join(parts) + "\n"


def _visit(
    modules: Mapping[str, str], name: str, above: list[str], order: list[str]
) -> None:
    if name in order:
        return
    if name in above:
        raise ValueError(f"modules import in a circle: {' -> '.join([*above, name])}")
    if name not in modules:
        raise ValueError(f"{above[-1] if above else 'the page'}: no module {name}.js")
    for _, other in _IMPORT.findall(modules[name]):
        _visit(modules, other, [*above, name], order)
    order.append(name)


def _as_function(name: str, text: str) -> str:
    """A module as a constant that holds its exports."""
    exports = [match.group(2) for match in _EXPORT.finditer(text)]
    inner = _IMPORT.sub(
        lambda match: f"const {{ {match.group(1)} }} = {_constant(match.group(2))};",
        text,
    )
    inner = _EXPORT.sub(lambda match: f"{match.group(1)} {match.group(2)}", inner)
    if other := _OTHER.search(inner):
        line = inner[other.start() :].strip().splitlines()[0]
        raise ValueError(f"{name}.js: cannot join {line!r}; see page/README.md")
    given = ", ".join(exports)
    return (
        f"const {_constant(name)} = (() => {{\n{inner.rstrip()}\nreturn {{ {given} }};"
        "\n})();"
    )


def _constant(name: str) -> str:
    return f"module_{name.replace('-', '_')}"
