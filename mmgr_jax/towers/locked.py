"""Checks the settings of a locked tower (a fixed image encoder) and builds it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.data import corpus, feature_tables
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RecordSource, RegionSource
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.models import learning, mmgr
from mmgr_jax.store import checkpoint, warm_start
from mmgr_jax.store.settings import InitSettings
from mmgr_jax.towers import towers

TABLE = "table"
log = logging.getLogger(__name__)

_KEPT_VIEWS = 2  # folded into the seed's key, for views that are made once and kept


def check(
    options: Mapping[str, Any], *, locked: bool, image_weight: float, normalise: str
) -> None:
    """Refuses settings of an image encoder that contradict each other.

    Args:
        options: The section `model.image_encoder`.
        locked: Whether the encoder is locked.
        image_weight: Weight of the image loss.
        normalise: The setting `augment.normalise`: whose mean and deviation are used.

    Raises:
        InputError: If they do; the message names the keys and what to set.
    """
    count = options.get("kept_views", 0)
    key = f"config.model.image_encoder.kept_views={count}"
    if not isinstance(count, int) or count < 0 or count == 1:
        raise InputError(
            f"{key}; allowed: 0 (the plain tile alone), or 2 and more random views."
        )
    if count and not locked:
        raise InputError(
            f"{key} has no effect on an encoder that learns. Set it to 0, or lock the "
            'encoder by config.model.image_encoder.train="none".'
        )
    if count and options["name"] == TABLE:
        raise InputError(
            f"{key}, but a table has one row a region and no views. Set it to 0."
        )
    if normalise != "encoder" and options["name"] == TABLE:
        raise InputError(
            f"config.augment.normalise={normalise!r}, but a table has no pixels; they "
            "were normalised when the table was made. Leave it at 'encoder'."
        )
    if locked and not count and image_weight:
        more = (
            ""
            if options["name"] == TABLE
            else ", or keep random views by config.model.image_encoder.kept_views=8"
        )
        raise InputError(
            f"config.loss.image_weight={image_weight} with "
            'config.model.image_encoder.train="none": a locked encoder sees each tile '
            "once, so both views are the same and the image loss teaches nothing. Set "
            f"config.loss.image_weight=0.0{more}."
        )


def check_weights(
    options: Mapping[str, Any], init: InitSettings, normalise: str
) -> None:
    """Checks that the weights a run begins with suit its image encoder.

    It warns if a locked encoder has random weights, or if one that learns will see
    pixels normalised in another way than before.

    Args:
        options: The section `model.image_encoder`.
        init: The section `init`, which names the weights.
        normalise: The setting `augment.normalise`: whose mean and deviation are used.

    Raises:
        InputError: If a locked encoder would see other pixels than it was trained on.
    """
    is_locked = options.get("train") == "none" and options["name"] != TABLE
    stored, brought = None, ()
    if init.checkpoint is not None:
        stored = checkpoint.load_metadata(checkpoint.latest(init.checkpoint))
        brought = init.parts or stored.parts or warm_start.PARTS
    if stored is None or learning.ENCODER not in brought:
        if is_locked:
            log.warning(
                "THE LOCKED TOWER IS RANDOM: "
                "config.model.image_encoder.train='none', and config.init.checkpoint "
                "brings no image_encoder; use this only as a baseline."
            )
        return
    if stored.normalise == normalise:
        return
    sentence = (
        f"config.augment.normalise={normalise!r}, and the image encoder of "
        f"{init.checkpoint} was trained with {stored.normalise!r}"
    )
    if is_locked:
        raise InputError(
            f"{sentence}: a locked one must see pixels as it was trained to. Set "
            f"config.augment.normalise={stored.normalise!r}, or let it learn."
        )
    log.warning("%s: it has to get used to other pixels.", sentence)


def read_table(
    options: Mapping[str, Any], source: RegionSource
) -> Float[np.ndarray, "r f"] | None:
    """Reads the features of the regions of some records, if the encoder is a table.

    Args:
        options: The section `model.image_encoder`.
        source: The records.

    Returns:
        A row for each region, in record order; None if the encoder is no table.

    Raises:
        InputError: If the table is missing, damaged or lacks a region.
    """
    if options["name"] != TABLE:
        return None
    key = "config.model.image_encoder.path"
    if not options.get("path"):
        raise InputError(
            f"{key} is missing: name the file of features that is the tower, such as "
            '`dict(name="table", path="features.npz", train="none")`.'
        )
    if not isinstance(source, RecordSource):
        raise InputError(
            f"config.model.image_encoder.name='table' with {source.place}: regions of "
            "several cities may have one name, so no table can be read by names. Name "
            "another image encoder, or train on one city."
        )
    ids = [
        record["region_id"] for rows in source.parts() for record in source.read(rows)
    ]
    labels = tuple(source.manifest.labels)
    return feature_tables.read(
        TABLE,
        options["path"],
        ids,
        label_names=labels,
        key=key,
        records=source.identity,
    )


def locked_tower(
    model: mmgr.MMGR,
    source: RegionSource,
    table_features: np.ndarray | None,
    *,
    options: Mapping[str, Any],
    augment: AugmentSettings,
    data: DataSettings,
    mesh: MeshSettings,
    seed: int,
    workdir: Path,
) -> towers.Tower | None:
    """Makes the locked image encoder for the regions of records; None if it learns.

    Args:
        model: The model.
        source: The records.
        table_features: As for `start.build_model`.
        options: The section `model.image_encoder`.
        augment: The section `augment`: how views are made, their size, and how pixels
            are normalised.
        data: The section `data`: how records are read.
        mesh: The section `mesh`; only devices of this process are used.
        seed: Seed of the views that are kept.
        workdir: Folder of the run, where features are kept.
    """
    if not model.learning.locked:
        return None
    return towers.Tower(
        model,
        options,
        source,
        folder=workdir / towers.FOLDER,
        augment=augment,
        kept_views=options.get("kept_views", 0),
        key=jax.random.fold_in(jax.random.key(seed), _KEPT_VIEWS),
        num_threads=data.num_threads,
        batch_size=data.batch_size,
        local_mesh=sharding.local_mesh(mesh),
        table=table_features,
        palettes=corpus.palettes(source, augment.normalise),
    )
