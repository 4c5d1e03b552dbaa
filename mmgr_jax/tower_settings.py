"""What a config says of a locked tower: refused where it contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import feature_tables

TABLE = "table"


def check(options: Mapping[str, Any], *, locked: bool, image_weight: float) -> None:
    """Refuses settings of an image encoder that contradict each other.

    Args:
        options: The section `model.image_encoder`.
        locked: Whether the encoder is.
        image_weight: Of the losses.

    Raises:
        InputError: With the keys and what to set.
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
    if locked and not count and image_weight:
        more = (
            ""
            if options["name"] == TABLE
            else ", or keep random views by config.model.image_encoder.kept_views=8"
        )
        raise InputError(
            f"config.loss.image_weight={image_weight} with "
            'config.model.image_encoder.train="none": a tower looks at each tile once, '
            "so both views are the same and the image loss teaches nothing. Set "
            f"config.loss.image_weight=0.0{more}."
        )


def read_table(
    options: Mapping[str, Any], source: RecordSource
) -> Float[np.ndarray, "r f"] | None:
    """Rows of the regions of some records; None where the tower is no table.

    Args:
        options: The section `model.image_encoder`.
        source: The records.

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
