"""Saves an encoder as one folder that describes itself, for use on other machines.

model.safetensors      parameters and batch statistics, named by their path
model.json             description of the encoder; see `About`
README.md              the same for people; see `mmgr_jax.card`
stac_item.json         the same for catalogues; see `mmgr_jax.card.stac_item`
written_by_mmgr.json   checksums of the first two; the other two may be edited
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from mmgr_jax import __version__
from mmgr_jax.disk import folders, marks, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.store import arrays as stored
from mmgr_jax.store import identity
from mmgr_jax.store.bundles import Metadata
from mmgr_jax.typing import Tree

KIND = "encoder"
FORMAT = 2
READ = (1, FORMAT)
"""Formats that can be read; format 1 has no field `normalise`."""

ARRAYS, ABOUT, CARD = "model.safetensors", "model.json", "README.md"
ITEM = "stac_item.json"


@dataclasses.dataclass(frozen=True)
class About:
    """Describes an encoder: its model, its inputs and its training.

    Attributes:
        model: The section `model` of the config that trained it.
        size_px: Side of the images it takes; tiles are resized to it.
        readout: The section `readout`: which features are read from it.
        categories: Names of the POI categories, in the order of their numbers.
        category_dim: Length of a category's vector; the vectors are among the arrays.
        tile_size_px: Side of the tiles it was trained on.
        tile_size_m: Side of these tiles on the ground, in metres; 0 if unknown.
        trained_on: `identity` of the records, and the version; `history` of the run;
            and, if the checkpoint has them, `cities` (see `data.facts`), `settings`
            (see `identity.recipe`), `step` and `evaluation` (see `card.evaluated`).
        normalise: "encoder": red, green and blue are always normalised by the same
            mean and deviation. "city": by the mean and deviation of their city.
        licence: Licence under which others may use it; "" if none was given.
        weights: Hash of the arrays.
    """

    model: Mapping[str, Any]
    size_px: int
    readout: Mapping[str, Any]
    categories: tuple[str, ...]
    category_dim: int
    tile_size_px: int
    tile_size_m: float
    trained_on: Mapping[str, Any]
    normalise: str
    licence: str = ""
    weights: str = ""


def about_checkpoint(stored_: Metadata, bundle: Path) -> About:
    """Describes the encoder of a checkpoint.

    Args:
        stored_: Metadata of the checkpoint.
        bundle: Folder of the checkpoint, named by its step.
    """
    config, cities = stored_.config, stored_.cities
    regions = config.get("regions") or {}
    size_px = (config.get("augment") or {}).get("size_px", 0)
    tile_size_px = regions.get("tile_size_px", size_px)
    tile_size_m = tile_size_px * regions.get("gsd_m", 0.0)
    if cities:  # of one size
        tile_size_px, tile_size_m = cities[0]["tile_size_px"], cities[0]["tile_size_m"]
    return About(
        model=config["model"],
        size_px=size_px,
        readout=config.get("readout")
        or {"image": "pooled", "surroundings_m": (), "groups": "columns"},
        categories=stored_.categories,
        category_dim=stored_.category_dim,
        tile_size_px=tile_size_px,
        tile_size_m=tile_size_m,
        trained_on={
            "identity": stored_.identity,
            "history": stored_.history,
            "cities": cities,
            "settings": identity.recipe(config),
            "step": int(bundle.name) if bundle.name.isdecimal() else None,
        },
        normalise=stored_.normalise,
    )


def is_there(folder: str | Path) -> bool:
    """Returns whether the folder holds an exported encoder, damaged or not."""
    return (Path(folder) / ABOUT).exists()


def save(
    folder: str | Path, about: About, variables: Tree, card: str, item: str
) -> Path:
    """Writes an encoder in place of what the folder held; see `Encoder.save`.

    Args:
        folder: The folder.
        about: Description of the encoder.
        variables: Its arrays.
        card: The text of README.md.
        item: The text of stac_item.json.
    """
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}
    text = {"format": FORMAT, "software": f"mmgr-jax {__version__}"}
    with folders.replacing(
        Path(folder), KIND, key="folder", sums=True, unsealed=(CARD, ITEM)
    ) as new:
        safetensors.numpy.save_file(arrays, new / ARRAYS)
        whole = json.dumps(
            text | dataclasses.asdict(about), indent=1, ensure_ascii=False
        )
        (new / ABOUT).write_text(whole + "\n", encoding="utf-8")
        (new / CARD).write_text(card, encoding="utf-8")
        (new / ITEM).write_text(item, encoding="utf-8")
    return Path(folder)


def about(folder: str | Path) -> About:
    """Reads and verifies the description of an exported encoder.

    Raises:
        InputError: If it is damaged, of another version, or cannot be read.
    """
    folder = Path(folder)
    try:
        if not marks.verify(folder, KIND):
            raise marks.DamageError(f"{marks.MARK} is missing")
        fields = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        form = fields.pop("format")
        fields.pop("software")
        if form not in READ:
            raise InputError(
                f"{folder}: an encoder of format {form}; this program reads "
                f"{' and '.join(map(str, READ))}. "
                "Use the version that wrote it, or save it again."
            )
        if form == 1:
            fields["normalise"] = "encoder"
        fields["categories"] = tuple(fields["categories"])
        return About(**fields)
    except InputError:
        raise
    except marks.DamageError as damage:
        raise _damaged(folder, str(damage)) from damage
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        refusals.refuse_unreadable(folder, error)
        raise _damaged(folder, f"{ABOUT}: {type(error).__name__}") from error


def load(folder: str | Path, abstract: Tree) -> Tree:
    """Loads the variables of an exported encoder that `about` has verified.

    Args:
        folder: The folder.
        abstract: Shapes, types and layout of the variables.

    Raises:
        InputError: If they are damaged or do not fit.
    """
    folder = Path(folder)
    try:
        flat = safetensors.numpy.load_file(folder / ARRAYS)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        refusals.refuse_unreadable(folder, error)
        raise _damaged(folder, f"{ARRAYS}: {error}") from error
    tree = traverse_util.unflatten_dict(flat, sep="/")
    tree.setdefault("batch_stats", {})
    stored.refuse_other_arrays(folder, {"model": tree}, {"model": abstract})
    return jax.tree.map(
        lambda like, leaf: jax.device_put(leaf.astype(like.dtype), like.sharding),
        abstract,
        tree,
    )


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(
        f"{folder}: this encoder is damaged ({why}). Copy it again, or save it again "
        "from its run."
    )
