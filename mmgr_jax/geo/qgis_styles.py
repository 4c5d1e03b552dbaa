"""Makes QGIS styles (.qml) for layers and images, in the colours of our maps.

Classes of numbers are listed from high to low. QGIS takes the first class that holds a
value, and includes both limits. So a value at a break is in the class above, as on our
maps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
from matplotlib.colors import to_hex

from mmgr_jax.data.schema import Label
from mmgr_jax.geo import panels
from mmgr_jax.geo.panels import CLASS_TITLES, SHARE_ERROR_UNIT, Breaks
from mmgr_jax.legend import breaks as breaks_lib
from mmgr_jax.legend import colours, printed
from mmgr_jax.terminal import visible

VERSION = "3.22.0"
"""Of QGIS whose format is written; later versions read it."""

OPEN = 1e39
"""Stands for infinity: beyond every float32."""

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


@dataclasses.dataclass(frozen=True)
class Style:
    """One way to draw a layer.

    Attributes:
        name: Name of the style, such as "population_predicted".
        about: A sentence about the style.
        qml: The style as text that QGIS reads.
    """

    name: str
    about: str
    qml: str


def of_label(
    task: str, label: Label, breaks: Breaks | None, fields: dict[str, str]
) -> list[Style]:
    """Makes the styles of a label; the first is the style of the prediction.

    Args:
        task: Name of the label.
        label: Kind, unit and classes of the label.
        breaks: Values at which the colours change; None for shares and classes.
        fields: Column of `columns.about_task` -> its name in the layer, without
            characters that act.
    """
    if breaks is None:
        return _of_classes(task, label, fields)
    styles = []
    for suffix, title in (
        ("pred", "prediction"),
        ("true", "known value"),
        ("low", "lower limit of the interval"),
        ("high", "upper limit of the interval"),
    ):
        field = fields[f"{task}_{suffix}"]
        about = _unit(f"{task}: {title}", label.unit)
        edges = (-OPEN, *breaks.values, OPEN)
        styles.append(_graduated(field, about, field, edges, colours.VALUES))
    error = f"{_quoted(fields[f'{task}_pred'])} - {_quoted(fields[f'{task}_true'])}"
    about = _unit(f"{task}: error, predicted less known", label.unit)
    edges = (-OPEN, *breaks.errors, OPEN)
    styles.append(_graduated(f"{task}_error", about, error, edges, colours.ERRORS))
    return styles


def of_image(band: int, edges: Sequence[float]) -> str:
    """Makes the style of one band in a GeoTIFF of numbers, as text.

    Args:
        band: Number of the band, from 1.
        edges: Values at which the colours change.
    """
    root = ElementTree.Element("qgis", version=VERSION, styleCategories="Symbology")
    renderer = ElementTree.SubElement(
        ElementTree.SubElement(root, "pipe"), "rasterrenderer",
        type="singlebandpseudocolor", band=str(band), opacity="1", alphaBand="-1",
        classificationMin=repr(edges[0]), classificationMax=repr(edges[-1]),
    )  # fmt: skip
    shader = ElementTree.SubElement(
        ElementTree.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="DISCRETE", classificationMode="1", clip="0",
        minimumValue=repr(edges[0]), maximumValue=repr(edges[-1]),
    )  # fmt: skip
    # QGIS counts the upper limit in: the last float32 below a break is that limit.
    exact = np.asarray(edges, np.float32)
    below = np.nextafter(exact, np.float32(-np.inf)).astype(float).tolist()
    shades = colours.ramp(colours.VALUES, len(edges) + 1)
    for limit, shade, shown in zip(
        (*map(repr, below), "inf"), shades, printed.classes(edges), strict=True
    ):
        ElementTree.SubElement(
            shader, "item", value=limit, color=shade, alpha="255", label=shown
        )
    return _text_of(root)


def of_clusters(field: str, count: int) -> Style:
    """Makes the style of the clusters, in the colours of the printed map.

    Args:
        field: Column of the layer with the cluster of each region.
        count: Number of clusters.
    """
    shades = [to_hex(shade) for shade in panels.cluster_colours(count)]
    values = {str(number): f"cluster {number}" for number in range(count)}
    about = f"{count} clusters of regions that look alike"
    return _categorised(field, about, values, shades, "integer")


def _of_classes(task: str, label: Label, fields: dict[str, str]) -> list[Style]:
    titles = (
        ("class with the largest predicted share", "class with the largest known share")
        if label.kind == "share"
        else ("most probable class", "known class")
    )
    styles = [
        _categorised(
            fields[f"{task}_{suffix}_class"],
            f"{task}: {title}",
            {visible(name): name.replace("_", " ") for name in label.classes},
            colours.of_classes(label.classes),
            "string",
        )
        for suffix, title in zip(("pred", "true"), titles, strict=True)
    ]
    terms = []
    for name in label.classes:
        predicted = _quoted(fields[f"{task}_pred_{name}"])
        if label.kind == "share":
            known = _quoted(fields[f"{task}_true_{name}"])
        else:
            chosen = _quoted(fields[f"{task}_true_class"])
            known = f"to_int({chosen} = {_text(visible(name))})"
        terms.append(f"abs({predicted} - {known})")
    about = f"{task}: {CLASS_TITLES[2].lower()}, {SHARE_ERROR_UNIT}"
    if label.kind == "share":
        about = f"{task}: error of the shares, {SHARE_ERROR_UNIT}"
    edges = (0.0, *breaks_lib.SHARE_ERRORS, 2.0)
    error = " + ".join(terms)
    styles.append(_graduated(f"{task}_error", about, error, edges, colours.DISTANCES))
    return styles


def _graduated(
    name: str,
    about: str,
    expression: str,
    edges: Sequence[float],
    anchors: Sequence[str],
) -> Style:
    """Styles classes between edges; edges at +-OPEN mean no limit."""
    shades = colours.ramp(anchors, len(edges) - 1)
    closed = [edge for edge in edges if abs(edge) != OPEN]
    if len(closed) == len(edges):
        numbers = [printed.number(edge) for edge in edges]
        pairs = zip(numbers[:-1], numbers[1:], strict=True)
        labels = [f"{low} to {high}" for low, high in pairs]
    else:
        labels = printed.classes(closed)
    root, renderer = _root("graduatedSymbol", expression)
    renderer.set("graduatedMethod", "GraduatedColor")
    ranges = ElementTree.SubElement(renderer, "ranges")
    limits = list(zip(edges[:-1], edges[1:], strict=True))
    symbols = []
    for index in reversed(range(len(limits))):
        low, high = limits[index]
        ElementTree.SubElement(
            ranges, "range",
            lower=f"{low!r}", upper=f"{high!r}", label=labels[index],
            symbol=str(len(symbols)), render="true",
        )  # fmt: skip
        symbols.append(shades[index])
    return _finished(name, about, root, renderer, symbols)


def _categorised(
    field: str,
    about: str,
    values: Mapping[str, str],
    shades: Sequence[str],
    kind: str,
) -> Style:
    """Styles each value with a colour; `values` maps values to texts of the legend."""
    root, renderer = _root("categorizedSymbol", field)
    categories = ElementTree.SubElement(renderer, "categories")
    for index, (value, shown) in enumerate(values.items()):
        ElementTree.SubElement(
            categories, "category",
            value=value, type=kind, render="true", label=visible(shown),
            symbol=str(index),
        )  # fmt: skip
    return _finished(field, about, root, renderer, shades)


def _root(kind: str, attribute: str) -> tuple[ElementTree.Element, ElementTree.Element]:
    root = ElementTree.Element("qgis", version=VERSION, styleCategories="Symbology")
    renderer = ElementTree.SubElement(
        root, "renderer-v2",
        type=kind, attr=attribute, symbollevels="0", enableorderby="0",
        forceraster="0",
    )  # fmt: skip
    return root, renderer


def _finished(
    name: str,
    about: str,
    root: ElementTree.Element,
    renderer: ElementTree.Element,
    shades: Sequence[str],
) -> Style:
    symbols = ElementTree.SubElement(renderer, "symbols")
    for index, shade in enumerate(shades):
        symbol = ElementTree.SubElement(
            symbols, "symbol",
            type="fill", name=str(index), alpha="1", clip_to_extent="1", force_rhr="0",
        )  # fmt: skip
        layer = ElementTree.SubElement(
            symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0"}
        )
        layer.set("pass", "0")
        options = ElementTree.SubElement(layer, "Option", type="Map")
        for key, value in _fill(shade).items():
            ElementTree.SubElement(
                options, "Option", name=key, type="QString", value=value
            )
    ElementTree.SubElement(root, "layerGeometryType").text = "2"
    return Style(name, about, _text_of(root))


def _text_of(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return _DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"


def _fill(shade: str) -> dict[str, str]:
    red, green, blue = (int(shade[place : place + 2], 16) for place in (1, 3, 5))
    colour = f"{red},{green},{blue},255"
    return {  # an outline in the colour itself closes the hairlines between neighbours
        "color": colour,
        "style": "solid",
        "outline_color": colour,
        "outline_style": "solid",
        "outline_width": "0.1",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }


def _unit(text: str, unit: str) -> str:
    return f"{text}, {unit}" if unit and unit != "1" else text


def _quoted(field: str) -> str:
    """A field in an expression of QGIS."""
    return '"' + field.replace('"', '""') + '"'


def _text(value: str) -> str:
    """A text in an expression of QGIS."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
