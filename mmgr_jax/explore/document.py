"""Writes the page: one HTML file that holds everything and loads nothing else.

Facts from a city's records go in as JSON and as numbers, never as markup. The
Content-Security-Policy names the page's own scripts and styles by their hashes. So
nothing else runs, whatever the name of a category or label is, and nothing is loaded.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmgr_jax.errors import InputError
from mmgr_jax.explore import scripts
from mmgr_jax.explore.content import PageContent
from mmgr_jax.extras import install
from mmgr_jax.terminal import visible

FOLDER = Path(__file__).parent / "page"
LIBRARY = "maplibre"

_PLACE = re.compile(r"\{\{(\w[\w.]*)\}\}")
_VERSION = re.compile(r"maplibre-gl-js/blob/v([\d.]+)/")


def write(content: PageContent) -> Iterator[str]:
    """Writes the text of the page in parts, because it may be large.

    Raises:
        InputError: If the map library is not installed.
    """
    run, styles = _run_and_styles()
    head, body = _shell(strings(), content.about["name"], policy(run, styles), styles)
    yield head
    about = described(content.about, content.arrays)
    yield _data("city", "application/json", as_json(about))
    yield _data("worker", "text/plain", _script("worker"))
    yield _data("basemap", "text/plain", base64.b64encode(content.picture).decode())
    if content.picture_before is not None:
        before = base64.b64encode(content.picture_before).decode()
        yield _data("basemap-before", "text/plain", before)
    for name, values in content.arrays.items():
        yield _data(f"array-{name}", "text/plain", packed(values))
    yield from (f"<script>{script}</script>\n" for script in run)
    yield body


def served(city: str) -> tuple[str, str]:
    """Makes the page that gets all its data from a server.

    Args:
        city: Name of the city.

    Returns:
        The text of the page, and its Content-Security-Policy.
    """
    run, styles = _run_and_styles()
    rules = f"{policy(run, styles)}; connect-src 'self'"
    head, body = _shell(strings(), city, rules, styles)
    parts = [
        head,
        _data("served", "text/plain", "yes"),
        _data("worker", "text/plain", _script("worker")),
        *(f"<script>{script}</script>\n" for script in run),
        body,
    ]
    return "".join(parts), rules


def described(
    about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Makes the JSON of a city, with sentences and a description of its arrays."""
    version = _VERSION.search(_library()[0][:400])
    return {
        **about,
        "strings": strings(),
        "library": f"MapLibre GL JS {version.group(1) if version else ''}".strip(),
        "arrays": {
            name: {"type": values.dtype.name, "shape": list(values.shape)}
            for name, values in arrays.items()
        },
    }


def require_library() -> None:
    """Checks that the map library is installed.

    Raises:
        InputError: If the library is not installed.
    """
    _library()


@functools.cache
def strings() -> Mapping[str, str]:
    """All sentences of the page, by name."""
    return json.loads((FOLDER / "strings.json").read_text(encoding="utf-8"))


def policy(run: list[str], styles: list[str]) -> str:
    """Makes the Content-Security-Policy of a page with these scripts and styles."""
    # Workers and pictures are made by the page itself: blobs.
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, run))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data: blob:",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def as_json(value: Any) -> str:
    """Writes JSON in ASCII that cannot end an HTML element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(values: np.ndarray) -> str:
    """Writes numbers as text: little-endian, compressed by gzip, base64."""
    stored = np.ascontiguousarray(values)
    if stored.dtype.byteorder == ">":
        stored = stored.astype(stored.dtype.newbyteorder("<"))
    compressed = gzip.compress(stored.tobytes(), compresslevel=6, mtime=0)
    return base64.b64encode(compressed).decode()


def _shell(
    words: Mapping[str, str], city: str, csp: str, styles: list[str]
) -> tuple[str, str]:
    """The parts of the page before and after the data."""
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    given = {**words, "city": visible(city), "policy": csp}
    unknown = set(_PLACE.findall(text)) - set(given) - {"styles", "data"}
    assert not unknown, unknown

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in ("styles", "data"):
            return match.group()
        return html.escape(given[name])

    text = _PLACE.sub(put, text)
    inlined = "\n".join(f"<style>{style}</style>" for style in styles)
    head, body = text.split("{{data}}")
    return head.replace("{{styles}}", inlined), body


def _run_and_styles() -> tuple[list[str], list[str]]:
    """Scripts and styles of the page, in order."""
    library, library_style = _library()
    styles = [library_style, (FOLDER / "style.css").read_text(encoding="utf-8")]
    return [library, _script("main")], styles


def _script(entry: str) -> str:
    modules = {
        path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")
    }
    return _closed(scripts.joined(modules, entry), f"{entry}.js", "script")


def _data(name: str, kind: str, text: str) -> str:
    return (
        f'<script type="{kind}" id="{name}">{_closed(text, name, "script")}</script>\n'
    )


def _closed(text: str, name: str, tag: str) -> str:
    """Checks that a text cannot end the element around it."""
    if re.search(rf"</{tag}|<!--", text, flags=re.IGNORECASE):
        raise ValueError(f"{name}: holds </{tag} or <!--, which would end it early")
    return text


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _library() -> tuple[str, str]:
    """Script and style of MapLibre GL JS, from the installed package."""
    found_spec = importlib.util.find_spec(LIBRARY)
    folders = list(found_spec.submodule_search_locations or []) if found_spec else []
    for folder in folders:
        script, style = (
            Path(folder) / "srcjs" / f"maplibre-gl.{kind}" for kind in ("js", "css")
        )
        if script.exists() and style.exists():
            text = script.read_text(encoding="utf-8")
            return (
                _closed(_without_map(text), script.name, "script"),
                _closed(style.read_text(encoding="utf-8"), style.name, "style"),
            )
    raise InputError(
        "the page needs MapLibre GL JS, which the Python package `maplibre` carries: "
        f"{install('explore')}."
    )


def _without_map(text: str) -> str:
    """A script without the address of its source map, which must not be loaded."""
    return re.sub(r"//# sourceMappingURL=\S+\s*$", "", text)
