"""Writes the text of a card.

Every line comes from the checkpoint, the records that it was trained on, or the report
of its evaluation. Facts that none of them holds are "not recorded".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax import __version__
from mmgr_jax.card import licences
from mmgr_jax.card.lines import UNKNOWN, cell, listed, number, table
from mmgr_jax.store.exported import About

_FEW_CATEGORIES = 40

_TAGS = (
    "region-embeddings", "remote-sensing", "earth-observation", "points-of-interest",
    "contrastive-learning", "jax", "flax",
)  # fmt: skip

_LIMITS = (
    "A row stands for a region as large as a tile, not for a person, a household or a "
    "building; do not decide about single people by it.",
    "Tiles of another ground size, sensor or season, and places unlike those of the "
    "training, give other features; evaluate there before you rely on them.",
    "Points of interest are as complete as their source: what was not mapped is not "
    "seen.",
)


def text(about: About, example: str) -> str:
    """Writes the card as a README.md that the Hugging Face Hub can read.

    Args:
        about: The encoder.
        example: Python code that loads the encoder.
    """
    sections = (
        _front_matter(about),
        _head(about),
        ("## How to load it", "", "```python", example.strip(), "```"),
        _cities(about),
        _sources(about),
        _categories(about),
        _recipe(about),
        _evaluation(about),
        _use(about),
        _obligations(about),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _front_matter(about: About) -> list[str]:
    return [
        "---",
        *licences.front_matter(about.licence),
        "library_name: mmgr-jax",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in _TAGS),
        "---",
    ]


def _head(about: About) -> list[str]:
    names = [one["city"] for one in _trained(about, "cities")]
    where = f"trained on {listed(names)}" if names else "whose cities are not recorded"
    return [
        "# An encoder of regions",
        "",
        f"An encoder of overhead imagery and points of interest (MMGR), {where}: tiles "
        "and sets of POIs in, embeddings out.",
        "",
        f"Written by mmgr-jax {__version__} from what the checkpoint, its records and "
        f"its evaluation say; what they do not say is {UNKNOWN}.",
        "",
        f"- licence of the weights: {cell(about.licence)}",
        f"- weights: `{about.weights[:16] or UNKNOWN}` (SHA-256)",
        f"- tiles: uint8 RGB of {about.tile_size_px} px and "
        f"{number(about.tile_size_m)} m a side, resized to {about.size_px} px",
    ]


def _cities(about: About) -> list[str]:
    cities = _trained(about, "cities")
    lines = ["## What it was trained on", ""]
    if not cities:
        return [*lines, f"Cities, regions and their sources: {UNKNOWN}."]
    weights = about.trained_on["identity"].get("corpus", {}).get("weights", {})
    rows = [
        (
            one["city"],
            one["num_regions"],
            one["crs"],
            f"{one['tile_size_px']} px, {number(one['tile_size_m'])} m",
            number(one["tile_size_m"] / one["tile_size_px"]),
            number(weights.get(one["city"], 1.0)),
        )
        for one in cities
    ]
    head = ("city", "regions", "CRS", "tile", "metres a pixel", "weight")
    return [*lines, *table(head, rows)]


def _sources(about: About) -> list[str]:
    lines = ["## Sources", ""]
    rows = []
    for one in _trained(about, "cities"):
        imagery, pois = one["imagery"], one["pois"]
        inside = pois.get("inside")
        count = "" if inside is None else f", {inside} in regions"
        sensor = imagery.get("sensor") or f"sensor {UNKNOWN}"
        rows += [
            (one["city"], f"imagery, {sensor}", *_origin(imagery)),
            (one["city"], f"POIs{count}", *_origin(pois)),
        ]
        rows += [
            (one["city"], f"label {name} ({label['unit']})", *_origin(label))
            for name, label in one["labels"].items()
        ]
    if not rows:
        return [*lines, f"{UNKNOWN.capitalize()}."]
    return [
        *lines,
        *table(("city", "what", "source", "licence", "year"), rows),
        "",
        "Labels are what features are evaluated by; none of them trains the encoder.",
    ]


def _categories(about: About) -> list[str]:
    names = about.categories
    more = len(names) - _FEW_CATEGORIES
    first = ", ".join(map(cell, names[:_FEW_CATEGORIES]))
    return [
        "## POI categories",
        "",
        f"{len(names)}: {first}"
        + (f" and {more} more, in `encoder.about.categories`" if more > 0 else "")
        + ".",
    ]


def _recipe(about: About) -> list[str]:
    trained = about.trained_on
    total = trained["identity"].get("total_steps")
    version = trained["identity"].get("version")
    step = trained.get("step")
    lines = [
        "## How it was trained",
        "",
        f"Steps: {cell(step)} of {cell(total)}, by mmgr-jax {cell(version)}.",
    ]
    for entry in trained["history"]:
        changes = ", ".join(entry["changes"]) or "nothing"
        lines.append(
            f"- from step {entry['step']} on: {entry['devices']} devices, "
            f"{entry['processes']} processes, changed: {cell(changes)}"
        )
    settings = trained.get("settings")
    if not settings:
        return [*lines, "", f"Settings: {UNKNOWN}."]
    rows = [(f"`{key}`", json.dumps(value)) for key, value in settings.items()]
    return [
        *lines,
        "",
        "<details><summary>Settings that decided the weights</summary>",
        "",
        *table(("setting", "value"), rows),
        "",
        "</details>",
    ]


def _evaluation(about: About) -> list[str]:
    lines = ["## Evaluation", ""]
    results = about.trained_on.get("evaluation")
    if not results:
        return [*lines, f"Of these weights: {UNKNOWN}."]
    trained = [one["city"] for one in _trained(about, "cities")]
    seen = "" if results["city"] in trained else ", no city of its training"
    if not trained:
        seen = ""
    rows = [
        (
            row["task"],
            row["method"],
            f"{row['metric']}, {row['split']} split, {row['protocol']}",
            _estimate(row["value"], row["interval"]),
        )
        for row in results["rows"]
    ]
    return [
        *lines,
        f"On {results['num_regions']} regions of {cell(results['city'])}{seen}; "
        f"{results['created'][:10]}. Heads are trained on other folds than they are "
        "tested on; `mean` knows nothing but the training labels' mean.",
        "",
        *table(("task", "features", "metric", "value [95% interval]"), rows),
    ]


def _use(about: About) -> list[str]:
    return [
        "## Intended use and limits",
        "",
        "For features of places: heads that predict what is known of few regions, "
        "maps, and the search for places like others, by image or by POIs.",
        "",
        *(f"- {limit}" for limit in _LIMITS),
        "- POIs of categories that are not listed above cannot be read.",
    ]


def _obligations(about: About) -> list[str]:
    cities = _trained(about, "cities")
    return [
        "## Obligations of the sources' licences",
        "",
        *licences.obligations(cities),
    ]


def _trained(about: About, key: str) -> Sequence[Mapping[str, Any]]:
    return about.trained_on.get(key) or ()


def _origin(origin: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return origin.get("source"), origin.get("licence"), origin.get("year")


def _estimate(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "not defined"
    if not interval or None in interval:
        return f"{value:.4g}"
    low, high = interval
    return f"{value:.4g} [{low:.3g}, {high:.3g}]"
