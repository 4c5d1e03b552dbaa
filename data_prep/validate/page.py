"""The report on a city's records, as text for a terminal and as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from data_prep.alignment.doctor import Alignment
from data_prep.pois import table as pois
from data_prep.validate import pictures
from data_prep.validate.content import Content
from mmgr_jax.report.page import tree
from mmgr_jax.report.page.tree import Element, element
from mmgr_jax.terminal import visible

_TOP = 15
_FILES = 5  # of one folder and ending that get a line each
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto;
       padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; } td, th { padding: .2em .9em .2em 0;
       text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; } .bad { color: #a40000; } .good { color: #1a6b1a; }
"""


def text(content: Content) -> str:
    """Faults, warnings and the main figures, as lines."""
    manifest = content.manifest
    lines = [f"{manifest.city}: {_summary(content)}"]
    lines += [f"  {name}: {value}" for name, value in _facts(content)]
    lines += [f"error: {fault}" for fault in content.errors]
    lines += [f"warning: {warning}" for warning in content.warnings]
    return "\n".join(visible(line) for line in lines)


def page(content: Content) -> str:
    """A self-contained HTML page: faults, figures, maps, histograms, tiles."""
    manifest = content.manifest
    title = f"Records of {manifest.city}"
    body: list[tree.Content] = [
        element("h1", title),
        element("p", _summary(content)),
        _list("Errors", content.errors, "bad"),
        _list("Worth a look", content.warnings),
        element("h2", "Figures"),
        _table(_facts(content)),
        _image("Regions", pictures.region_map(content)),
        element("h2", "Labels"),
        _table(
            _label_rows(content),
            ("label", "kind, unit", "known", "values", "from", "of the source"),
        ),
        _image("", pictures.label_histograms(content)),
        _image("Tiles with their POIs", pictures.tiles(content)),
        element("h2", "POI categories"),
        _table(*_categories(content)),
        element("h2", "Sources"),
        _table(_source_rows(manifest.sources)),
    ]
    return _document(title, body)


def alignment_page(city: str, measured: Alignment) -> str:
    """A self-contained HTML page: what the alignment doctor says, and its surface."""
    title = f"POIs and imagery of {city}"
    style = "bad" if measured.is_shifted else None
    body: list[tree.Content] = [
        element("h1", title),
        element("p", measured.sentence(), class_=style),
        _image("Agreement", pictures.alignment(measured)),
        element(
            "p",
            f"{measured.num_pois:,} POIs lie on imagery. They were moved by up to "
            f"{measured.offsets_m[-1]:g} m in all directions; at each shift their "
            "places were told from places elsewhere by colour, greenness, edges and "
            "roughness of the imagery, learnt on half of the city's blocks and judged "
            "on the other half. Where POIs lie right, one place stands out.",
        ),
    ]
    return _document(title, body)


def _document(title: str, body: list[tree.Content]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{element('title', title)}<style>{_STYLE}</style></head>"
        f"{element('body', body)}</html>\n"
    )


def _summary(content: Content) -> str:
    if not content.errors:
        state = "fit"
    else:
        state = f"not fit, {len(content.errors)} error(s)"
    warned = f", {len(content.warnings)} warning(s)" if content.warnings else ""
    return f"{len(content.num_pois):,} records read; {state}{warned}"


def _facts(content: Content) -> list[tuple[str, str]]:
    manifest, counts = content.manifest, content.num_pois
    report = manifest.report
    facts = [
        ("CRS", manifest.crs or "unknown"),
        (
            "tile",
            f"{manifest.tile_size_px} px, {manifest.tile_size_m:g} m, "
            f"{manifest.image_format}",
        ),
        ("regions left out", pois.counted(report.get("regions dropped", {})) or "none"),
        (
            "POIs a region",
            f"median {np.median(counts):g}, at most {counts.max():,}, "
            f"none in {np.mean(counts == 0):.1%}",
        ),
        ("POIs left out", pois.counted(report.get("POIs dropped", {})) or "none"),
        ("categories", f"{len(manifest.categories):,}"),
        ("spatial blocks", f"{len(np.unique(content.block_id)):,}"),
        *_folds(report),
    ]
    return facts + [
        (f"label {name}", f"{kind}; {known} known; {values}")
        for name, kind, known, values, *_ in _label_rows(content)
    ]


def _folds(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    sizes = report.get("splits", {}).get("regions in each fold", {})
    return [
        (f"folds, {kind} split", f"{', '.join(map(str, counts))} regions")
        for kind, counts in sizes.items()
    ]


def _label_rows(content: Content) -> list[tuple[str, ...]]:
    rows = []
    for name, meaning in content.manifest.labels.items():
        values = content.labels[name]
        known = ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
        if not known.any():
            shown = "none"
        elif meaning.classes:
            means = values[known].mean(axis=0)
            order = np.argsort(-means)[:3]
            shown = "mean " + ", ".join(
                f"{meaning.classes[index]} {means[index]:.2f}" for index in order
            )
        else:
            low, middle, high = np.percentile(values[known], (0, 50, 100))
            shown = f"{low:.4g} to {high:.4g}, median {middle:.4g}"
            if meaning.kind == "count":
                shown += f", total {np.sum(values[known], dtype=float):,.6g}"
        source = ", ".join(
            str(part)
            for part in (meaning.source, meaning.year, meaning.licence)
            if part
        )
        kind = f"{meaning.kind}, {meaning.unit}"
        report = content.manifest.report.get("labels", {}).get(name, {})
        numbers = ", ".join(f"{what} {number:,.6g}" for what, number in report.items())
        rows.append((name, kind, f"{known.mean():.1%}", shown, source, numbers))
    return rows


def _categories(content: Content) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The largest categories, with their parents where there are any; and the head."""
    manifest = content.manifest
    has_parents = manifest.category_parents != manifest.categories
    order = np.argsort(-content.category_counts, kind="stable")[:_TOP]
    rows = []
    for index in order.tolist():
        parent = (manifest.category_parents[index],) if has_parents else ()
        count = f"{content.category_counts[index]:,}"
        rows.append((manifest.categories[index], *parent, count))
    parent = ("parent",) if has_parents else ()
    return rows, ("category", *parent, "POIs in regions")


def _source_rows(sources: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each file with size and hash; many of one folder and ending share a row."""
    groups: dict[str, list[str]] = {}
    for path in sources:
        pattern = str(PurePath(path).parent / f"*{PurePath(path).suffix}")
        groups.setdefault(pattern, []).append(path)
    rows = []
    for pattern, paths in groups.items():
        if len(paths) > _FILES:
            size = sum(sources[path]["bytes"] for path in paths) / 2**20
            rows.append((pattern, f"{len(paths):,} files, {size:,.1f} MiB"))
            continue
        rows += [(path, _size(sources[path])) for path in paths]
    return rows


def _size(about: Mapping[str, Any]) -> str:
    size = about["bytes"] / 2**20
    return f"{size:,.1f} MiB, sha256 {about['sha256'][:12]}"


def _list(title: str, lines: list[str], style: str | None = None) -> tree.Content:
    if not lines:
        return element("p", "No errors.", class_="good") if style == "bad" else ()
    items = [element("li", line) for line in lines]
    return element("h2", title, class_=style), element("ul", items)


def _table(rows: list[tuple[str, ...]], heads: tuple[str, ...] = ()) -> Element:
    top = element("tr", [element("th", head) for head in heads])
    body = [element("tr", [element("td", cell) for cell in row]) for row in rows]
    return element("table", top, body)


def _image(title: str, png: bytes | None) -> tree.Content:
    if png is None:
        return ()
    data = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = element("img", alt=title or "histograms", src=data)
    return (element("h2", title), image) if title else image
