"""Compares the settings that decide what records hold with those of a manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import sources
from data_prep.category_embedding.settings import READS, CategoryVectorSettings
from data_prep.labels.settings import LabelSettings
from data_prep.settings import PreparationSettings
from mmgr_jax import removed_settings

VECTORS = "category_vectors"
"""The section that decides the table of category vectors, and nothing else."""

RELEASED = "released_sample"
"""The section that a manifest has if its records are an imported sample."""

_OF_IMPORT = ("city", RELEASED, "records")

_PATHS = re.compile(
    r"imagery\.paths|pois\.(path|categories\.path|osm\.table)|toy_city\.out_dir"
    r"|regions\.polygons\.path|labels\.\w+\.path"
    r"|category_vectors\.(table\.path|text\.(folder|phrases))"
    r"|released_sample\.dir"
)
"""Settings that say where something lies; what lies there is compared by itself."""


_ORIGINS = re.compile(
    r"imagery\.(source|licence|year|sensor)|pois\.(source|licence|year)"
)
"""Settings that decide nothing in the records; those of before do not say them."""


def recipe(settings: CategoryVectorSettings) -> dict[str, Any]:
    """Returns what decides a city's vectors: the method and the settings it reads.

    Files that the settings name are compared by content: `sha256` is the hash of a
    table, or of the model and the phrases of "text"; None where a file is gone.
    """
    method, text = settings.method, settings.text
    every = dataclasses.asdict(settings)
    chosen = {name: every[name] for name in READS[method]}
    if method == "table":
        chosen["sha256"] = _hash([settings.table.path])
    if method == "text":
        if not text.names_per_category:
            del chosen["seed"]
        named = [path for path in (text.folder, text.phrases) if path]
        if named:
            chosen["sha256"] = _hash(named)
    return {"method": method, **chosen}


def is_imported(built: Mapping[str, Any]) -> bool:
    """Whether these are settings of an imported sample; "released" is an older name."""
    return RELEASED in built or "released" in built


def comparable(settings: PreparationSettings) -> dict[str, Any]:
    """Returns the sections as JSON reads them, without settings that decide nothing.

    It omits the place of the records, the settings of unused methods for category
    vectors, and settings that an import or a build does not read.
    """
    chosen = dataclasses.asdict(settings)
    if settings.released_sample:
        chosen = {name: chosen[name] for name in _OF_IMPORT}
    else:
        del chosen[RELEASED]
        chosen[VECTORS] = recipe(settings.category_vectors)
    if settings.toy_city and "toy_city" in chosen:
        chosen["toy_city"] = settings.toy_city.noted()
    del chosen["records"]["dir"]
    return json.loads(json.dumps(chosen))


def differing(built: Mapping[str, Any], settings: PreparationSettings) -> list[str]:
    """Returns the dotted names of the settings that differ from a manifest's.

    A missing table of category vectors does not count as a different table. Only the
    last part of a path counts, because a city that was moved has the same files.
    Settings of a label that an earlier config did not name had their defaults. Settings
    that were removed (`removed_settings`) are ignored.
    """
    wanted = comparable(settings)
    names = _differing(_completed(built), wanted)
    names = [name for name in names if not removed_settings.answer(name)]
    if VECTORS in wanted and wanted[VECTORS].get("sha256", "") is None:
        names = [name for name in names if name != f"{VECTORS}.sha256"]
    return names


def _completed(built: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a manifest, those of its labels with what no config named."""
    if "labels" not in built:
        return built
    defaults = {
        field.name: list(field.default) if field.default == () else field.default
        for field in dataclasses.fields(LabelSettings)
        if field.default is not dataclasses.MISSING
    }
    labels = {name: defaults | label for name, label in built["labels"].items()}
    return {**built, "labels": labels}


def _differing(built: Any, wanted: Any, prefix: str = "") -> list[str]:
    if not (isinstance(built, Mapping) and isinstance(wanted, Mapping)):
        if _PATHS.fullmatch(prefix):
            built, wanted = _last(built), _last(wanted)
        return [] if built == wanted else [prefix]
    names = []
    for key in sorted(set(built) | set(wanted)):
        if key not in wanted and built[key] == []:
            continue  # a setting that is gone, which said nothing
        name = f"{prefix}.{key}" if prefix else key
        if key not in built and _ORIGINS.fullmatch(name):
            continue
        names += _differing(built.get(key), wanted.get(key), name)
    return names


def _hash(paths: Sequence[str | None]) -> str | None:
    """Hash of files and folders; of several the hash of their hashes."""
    if not all(path is not None and Path(path).exists() for path in paths):
        return None
    hashes = [sources.sha256(Path(path)) for path in paths if path is not None]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _last(paths: Any) -> Any:
    """The last part of a path, or of each of several."""
    if isinstance(paths, list):
        return [_last(path) for path in paths]
    return Path(paths).name if isinstance(paths, str) else paths
