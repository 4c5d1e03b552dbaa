"""The sections of a config that decide what records hold: read and compared."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep import sources
from data_prep.sources import Sections

VECTORS = "category_vectors"
"""The section that decides the table of category vectors, and nothing else."""

RELEASED = "released"
"""The section that imports the released sample; see `data_prep.import_released`."""

NAMES = (
    "city",
    "toy_city",
    "imagery",
    "pois",
    "labels",
    "regions",
    "blocks",
    "records",
    VECTORS,
)


_PATHS = re.compile(
    r"imagery\.paths|pois\.(path|categories\.path|osm\.table)|toy_city\.out_dir"
    r"|regions\.polygons\.path|labels\.\w+\.path"
    r"|category_vectors\.(table\.path|text\.(folder|phrases))"
    r"|released\.(\w+_dir|centres|lists\.\w+|labels\.\w+\.dir)"
)
"""Settings that say where something lies; what lies there is compared by itself."""

METHODS: Mapping[str, tuple[str, ...]] = {
    "skipgram": ("dim", "seed", "walks", "skipgram"),
    "random": ("dim",),
    "onehot": ("dim",),
    "table": ("table",),
    "text": ("dim", "seed", "text"),
}
"""The methods of category vectors, and the settings that each of them reads."""


def read(config: ConfigDict, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Sections of a config as plain dicts."""
    return {
        name: config[name].to_dict()
        if isinstance(config[name], ConfigDict)
        else config[name]
        for name in names
    }


def records_dir(sections: Sections) -> Path:
    """Where the records of a city go."""
    default = f"data/{sections['city']['name']}/records"
    return Path(sections["records"]["dir"] or default)


def vector_settings(sections: Sections) -> dict[str, Any]:
    """The keyword arguments of `category_embedding.make_vectors`."""
    settings = dict(sections[VECTORS])
    del settings["out"]
    return settings


def recipe(*, method: str, **settings: Any) -> dict[str, Any]:
    """What decides the vectors of a city: the method and the settings it reads.

    Files that the settings name count by their content: `sha256` is the hash of a
    table, or of the model and the phrases of "text"; None where one is gone.
    """
    chosen = {name: settings[name] for name in METHODS.get(method, settings)}
    if method == "table":
        chosen["sha256"] = _hash([settings["table"]["path"]])
    if method == "text":
        if not settings["text"]["names_per_category"]:
            del chosen["seed"]
        named = [settings["text"][key] for key in ("folder", "phrases")]
        if any(named):
            chosen["sha256"] = _hash([path for path in named if path])
    return {"method": method, **chosen}


def comparable(sections: Sections) -> dict[str, Any]:
    """The sections as JSON gives them back, without what decides nothing.

    Left out are where the records go, and the settings of methods other than the one
    that makes the category vectors.
    """
    chosen = dict(sections)
    if VECTORS in sections:
        chosen[VECTORS] = recipe(**vector_settings(sections))
    plain = json.loads(json.dumps(chosen))
    plain["records"].pop("dir", None)
    return plain


def differing(built: Mapping[str, Any], sections: Sections) -> list[str]:
    """Dotted names of the settings that are others than those of a manifest.

    A table of category vectors that is gone is no other table, and of paths only the
    last part counts: where a city was moved to, its files are the same.
    """
    wanted = comparable(sections)
    found = _differing(built, wanted)
    if VECTORS in wanted and wanted[VECTORS].get("sha256", "") is None:
        found = [name for name in found if name != f"{VECTORS}.sha256"]
    return found


def _differing(built: Any, wanted: Any, prefix: str = "") -> list[str]:
    if not (isinstance(built, dict) and isinstance(wanted, dict)):
        if _PATHS.fullmatch(prefix):
            built, wanted = _last(built), _last(wanted)
        return [] if built == wanted else [prefix]
    found = []
    for key in sorted(set(built) | set(wanted)):
        name = f"{prefix}.{key}" if prefix else key
        found += _differing(built.get(key), wanted.get(key), name)
    return found


def _hash(paths: list[str | None]) -> str | None:
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
