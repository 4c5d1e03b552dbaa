"""Describes an encoder as an item of a STAC catalogue: the card for programs.

The item follows version 1.5 of the Machine Learning Model extension ("MLM", a STAC
community extension). It states the input and output of the model, and the file with its
weights.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
from collections.abc import Mapping
from typing import Any

from mmgr_jax import __version__
from mmgr_jax.store import exported
from mmgr_jax.store.exported import About

MLM, EO, PROCESSING = (
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("mlm/v1.5.2", "eo/v1.1.0", "processing/v1.2.0")
)

BANDS = ("red", "green", "blue")

SAFETENSORS, ORBAX = "safetensors.numpy.save_file", "orbax.checkpoint"
"""How the arrays were saved, as `artifact` names it."""

TABLE = "table"
"""The image encoder that reads features by region in place of tiles."""

# As semver.org has it, which the extension asks for.
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")

# Settings by a city's name in other letters are on the card, and not here: the
# extension takes no such keys.
_KEY = re.compile(r"[0-9a-zA-Z_.-]+")


def of_saved(about: About, *, widths: Mapping[str, int], num_parameters: int) -> str:
    """Writes the item for the arrays that `exported.save` writes, as text of a file.

    Args:
        about: The encoder.
        widths: As for `item`.
        num_parameters: As for `item`.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = item(
        about,
        href=f"./{exported.ARRAYS}",
        artifact=SAFETENSORS,
        created=now.replace("+00:00", "Z"),
        widths=widths,
        num_parameters=num_parameters,
        beside={exported.ABOUT: "application/json", exported.CARD: "text/markdown"},
    )
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def item(
    about: About,
    *,
    weights: str = "",
    href: str,
    artifact: str,
    created: str,
    widths: Mapping[str, int] | None = None,
    num_parameters: int | None = None,
    beside: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Makes the item.

    Args:
        about: The encoder.
        weights: Hash of the encoder's arrays, if `about` has none.
        href: Path of the weights, relative to the item.
        artifact: How the weights were saved.
        created: Time at which the item is made, as RFC 3339 in UTC.
        widths: "image" and "poi" -> length of the embeddings, if known; "" -> length
            for any kind of input.
        num_parameters: Number of learnt parameters, if known.
        beside: Files that describe the encoder: name -> type.

    Returns:
        JSON with relative links; `geometry` is null, because an encoder has no place.
    """
    weights = weights or about.weights
    properties: dict[str, Any] = {
        "datetime": created,
        "created": created,
        "title": "Encoder of regions",
        "description": _description(about),
        "mlm:name": f"MMGR encoder {weights[:8]}".strip(),
        "mlm:architecture": " and ".join(_parts(about)),
        "mlm:tasks": ["similarity-search"],
        "mlm:framework": "Flax",
        "mlm:input": _inputs(about),
        "mlm:output": _outputs(widths or {}),
        "processing:software": {"mmgr-jax": __version__},
    }
    model = _weights(about, href, artifact)
    version = _VERSION.match(importlib.metadata.version("flax"))
    if version:
        properties["mlm:framework_version"] = version[0]
    if num_parameters is not None:
        properties["mlm:total_parameters"] = num_parameters
    settings = about.trained_on.get("settings") or {}
    settings = {key: value for key, value in settings.items() if _KEY.fullmatch(key)}
    if settings:
        properties["mlm:hyperparameters"] = settings
    if about.licence:
        properties["license"] = about.licence
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [MLM, PROCESSING, *([EO] if "eo:bands" in model else [])],
        "id": f"mmgr-encoder-{weights[:16]}".strip("-"),
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {"model": model}
        | {
            name: {"href": f"./{name}", "type": kind, "roles": ["metadata"]}
            for name, kind in (beside or {}).items()
        },
    }


def _weights(about: About, href: str, artifact: str) -> dict[str, Any]:
    """The asset of the weights; it also describes the bands that the input names."""
    model: dict[str, Any] = {
        "href": href,
        "title": "Weights",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": artifact,
    }
    if artifact == SAFETENSORS:
        model["type"] = "application/octet-stream; application=safetensors"
    if about.model["image_encoder"]["name"] != TABLE:
        model["eo:bands"] = [{"name": one, "common_name": one} for one in BANDS]
    return model


def _parts(about: About) -> list[str]:
    encoders = (about.model.get(key) or {} for key in ("image_encoder", "poi_encoder"))
    return [str(one["name"]) for one in encoders if one.get("name")] or ["MMGR"]


def _description(about: About) -> str:
    cities = [one["city"] for one in about.trained_on.get("cities") or ()]
    where = ", ".join(map(str, cities)) or "places that are not recorded"
    return (
        "Encodes overhead imagery and points of interest of a region to vectors "
        f"(MMGR, contrastive learning); trained on {where}."
    )


def _inputs(about: About) -> list[dict[str, Any]]:
    if about.model["image_encoder"]["name"] == TABLE:
        image = {
            "name": "features",
            "description": "Features of the region, made by another encoder.",
            "bands": [],
            "input": _array(("batch", "embedding"), (-1, -1), "float32"),
        }
    else:
        side = about.tile_size_px or -1
        image = {
            "name": "tiles",
            "description": (
                f"Tiles from above of {about.tile_size_m:g} m a side"
                if about.tile_size_m
                else "Tiles from above"
            )
            + "; the encoder resizes and normalises them.",
            "bands": list(BANDS),
            "input": _array(
                ("batch", "height", "width", "bands"), (-1, side, side, 3), "uint8"
            ),
        }
    pois = {
        "name": "pois",
        "description": (
            "Points of interest of each region: numbers of their categories, of which "
            f"there are {len(about.categories)}."
        ),
        "bands": [],
        "input": _array(("batch", "token"), (-1, -1), "int32"),
    }
    return [image, pois]


def _outputs(widths: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{kind}_embedding",
            "description": f"Vectors of {what}.",
            "tasks": ["similarity-search"],
            "result": _array(("batch", "embedding"), (-1, widths[kind]), "float32"),
        }
        for kind, what in (("image", "tiles"), ("poi", "sets of POIs"))
        if kind in widths
    ] or [
        {
            "name": "embedding",
            "description": "A vector a region.",
            "tasks": ["similarity-search"],
            "result": _array(
                ("batch", "embedding"), (-1, widths.get("", -1)), "float32"
            ),
        }
    ]


def _array(
    names: tuple[str, ...], shape: tuple[int, ...], dtype: str
) -> dict[str, Any]:
    """The shape of an input or output; -1 for any length."""
    return {"shape": list(shape), "dim_order": list(names), "data_type": dtype}
