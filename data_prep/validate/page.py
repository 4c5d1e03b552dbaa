"""The report on a city's records, as text for a terminal and as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from data_prep.alignment.doctor import Alignment
from data_prep.labels import sentences
from data_prep.pois import table as pois
from data_prep.validate import pictures
from data_prep.validate.content import Content
from mmgr_jax.report.page import html, tree
from mmgr_jax.report.page.tree import Element, element
from mmgr_jax.terminal import visible

_TOP = 15
_FILES = 5  # of one folder and ending that get a line each
_SHOWN = "Grey: no POI. Darker colours: few. North is up"
_BLOCKS = (
    "Neighbouring regions of one colour are a block. Whole blocks are tested together, "
    "so that no tested region lies beside one that was trained on"
)
_TILES = (
    "Tiles spread over the city, all at one scale; yellow dots are POIs. Do the dots "
    "lie on the right roofs and beside the right roads?"
)


def text(content: Content) -> str:
    """Faults, warnings and the main figures, as lines."""
    manifest = content.manifest
    lines = [f"{manifest.city}: {_summary(content)}"]
    lines += [f"  {name}: {value}" for name, value in _facts(content)]
    lines += [f"error: {fault}" for fault in content.errors]
    lines += [f"warning: {warning}" for warning in content.warnings]
    return "\n".join(visible(line) for line in lines)


def page(content: Content) -> str:
    """A self-contained HTML page: a map and what to know, then faults and figures."""
    manifest = content.manifest
    title = f"Records of {manifest.city}: are they fit to use?"
    links = [("Figures", "figures"), ("Labels", "labels"), ("Tiles", "tiles"),
             ("POI categories", "categories"), ("Sources", "sources")]  # fmt: skip
    categories, heads = _categories(content)
    pictured = [
        _image(f"Distribution of {name}", pictures.label_histogram(content, name))
        for name in manifest.labels
    ]
    body: list[tree.Content] = [
        element("h1", title),
        _front(content),
        _list("Errors", content.errors, "bad"),
        _list("Worth a look", content.warnings),
        _heading("Figures"),
        _table("figures", _facts(content)),
        _image("Spatial blocks", pictures.block_map(content), _BLOCKS),
        _heading("Labels"),
        _table(
            "labels",
            _label_rows(content),
            ("label", "kind, unit", "known", "values", "from", "of the source"),
        ),
        html.tag("div", pictured, kind="pictures"),
        _heading("Tiles"),
        html.paragraph(_TILES, "soft"),
        html.tag("div", list(map(_tile, *zip(*pictures.tiles(content), strict=True))),
                 kind="tiles"),
        html.tag("h2", "POI categories", id_="categories"),
        _table("POI categories", categories, heads),
        _heading("Sources"),
        _table("sources", _source_rows(manifest.sources), ("file", "size")),
    ]  # fmt: skip
    return html.document(title, links, body)


def alignment_page(city: str, measured: Alignment) -> str:
    """A self-contained HTML page: what the alignment doctor says, and its surface."""
    title = f"POIs and imagery of {city}"
    style = "bad" if measured.is_shifted else ""
    explained = (
        f"{measured.num_pois:,} POIs lie on imagery. They were moved by up to "
        f"{measured.offsets_m[-1]:g} m in all directions; at each shift a model tried "
        "to tell their places from other places by colour, greenness, edges and "
        "roughness of the imagery. It learnt on half of the city's blocks and was "
        "tested on the other half. If the best shift is zero, the POIs lie where "
        "they should."
    )
    body: list[tree.Content] = [
        element("h1", title),
        html.paragraph(measured.sentence(), style),
        _image("Agreement at each shift", pictures.alignment(measured)),
        html.paragraph(explained),
    ]
    return html.document(title, (), body)


def _front(content: Content) -> Element:
    """The map of POIs, and what the records are good for in three sentences."""
    title = "POIs in each region"
    paragraphs = [
        html.tag("p", html.tag("strong", name), f" {words}")
        for name, words in (
            ("What this is.", _what(content)),
            ("Is it fit?", _summary(content) + "."),
            ("Where to look.", _look(content)),
        )
    ]
    picture = _image(title, pictures.poi_map(content), _SHOWN)
    return html.tag("section", picture, html.tag("div", paragraphs), kind="front")


def _what(content: Content) -> str:
    manifest = content.manifest
    size = f" of {manifest.tile_size_m:g} m" if manifest.tile_size_m else ""
    return (
        f"{manifest.city} was cut into {len(content.num_pois):,} regions, each with an "
        f"image tile{size} and the {int(content.num_pois.sum()):,} points of interest "
        "(POIs) at their places; models are trained and tested on these records."
    )


def _look(content: Content) -> str:
    if content.errors:
        return "Do not use these records: the errors below say why."
    none = float(np.mean(content.num_pois == 0))
    start = f"{none:.0%} of the regions hold no POI (grey on the map)"
    if content.warnings:
        return f"{start}; {len(content.warnings)} warning(s) are listed below."
    return f"{start}; compare tiles and POIs below with what you know of the city."


def _heading(name: str) -> Element:
    return html.tag("h2", name, id_=html.anchor(name))


def _tile(name: str, num_pois: int, png: bytes) -> tree.Content:
    return _image(f"{name}, {num_pois:,} POIs", png)


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
        kind = meaning.kind if meaning.classes else f"{meaning.kind}, {meaning.unit}"
        report = content.manifest.report.get("labels", {}).get(name, {})
        numbers = sentences.in_words(report)
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


def _list(title: str, lines: list[str], style: str = "") -> tree.Content:
    if not lines:
        return html.paragraph("No errors.", "good") if style == "bad" else ()
    return html.tag("h2", title, kind=style), html.bullets(lines)


def _table(
    name: str, rows: Iterable[tuple[str, ...]], heads: tuple[str, ...] = ()
) -> tree.Content:
    rows = list(rows)
    if not rows:
        return html.paragraph("None.", "soft")
    cells = [[html.left(cell) for cell in row] for row in rows]
    if not heads:  # names and values: the name heads its row
        cells = [
            [element("th", row[0], scope="row"), *map(html.left, row[1:])]
            for row in rows
        ]
    header = [element("th", head, class_="words") for head in heads]
    return html.table(header, cells, name=name)


def _image(title: str, png: bytes | None, caption: str = "") -> tree.Content:
    if png is None:
        return ()
    data = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    words = f"{title}. {caption}".rstrip(". ") + "."
    return html.figure(element("img", alt=title, src=data), words)
