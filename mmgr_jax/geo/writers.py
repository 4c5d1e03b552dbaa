"""Tables with geometry: GeoParquet 1.1 with embeddings, predictions and origin."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from jaxtyping import Float
from pyarrow import parquet
from pyproj.exceptions import CRSError

from mmgr_jax.data import seals
from mmgr_jax.data.schema import Label
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

RESERVED = ("region_id", "geometry", "bbox", "embedding")
ROW_GROUP_SIZE = 8192  # 64 MiB of 2048-wide embeddings: what a reader must hold
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_embeddings(
    path: str | Path,
    *,
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    crs: str,
    embeddings: Float[np.ndarray, "r f"],
    columns: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    """Writes one row a region: id, geometry, box, embedding and further columns.

    The file is GeoParquet 1.1 with ZSTD compression: `geometry` as WKB, `bbox` as
    its covering, so that readers can skip what lies elsewhere, and `embedding` as a
    list of f float32. The schema metadata holds JSON under `geo` (GeoParquet) and
    under `emb` (what the vectors are): the given metadata plus `column`,
    `dimensions`, `data_type`, `crs` and `sha256`, by which a damaged file is seen when
    it is read as a table of features; pages have checksums, too. The file appears in
    one rename, or not at all.

    Args:
        path: File to write; missing folders are made.
        region_ids: Stable names, all different.
        geometry_wkb: Polygons in `crs`.
        crs: Anything pyproj understands, such as "EPSG:32651".
        embeddings: One finite vector a region.
        columns: Name -> r values, such as the function `columns` gives; NaN
            becomes null.
        metadata: Where the vectors come from, such as model, checkpoint, date and
            source; must be JSON.

    Raises:
        InputError: If lengths differ, ids repeat, an embedding is not finite, a
            column has a reserved name, or the CRS or metadata cannot be written.
    """
    path = Path(path)
    _check(path, region_ids, geometry_wkb, embeddings, columns)
    geometry = shapely.from_wkb(geometry_wkb)
    bounds = shapely.bounds(geometry)
    width = embeddings.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(embeddings.astype(np.float32).ravel()), width
    )
    corners = [pa.array(bounds[:, index]) for index in range(4)]
    table = pa.table(
        {
            "region_id": pa.array(region_ids, pa.string()),
            **{name: pa.array(v, from_pandas=True) for name, v in columns.items()},
            "embedding": vectors,
            "bbox": pa.StructArray.from_arrays(corners, CORNERS),
            "geometry": pa.array(geometry_wkb, pa.binary()),
        }
    )
    described = {
        **metadata,
        "column": "embedding",
        "dimensions": width,
        "data_type": "float32",
        "crs": crs,
    }
    seal = seals.OfTable()
    seal.add(region_ids, embeddings)
    described["sha256"] = seal.sha256(json.loads(_json(path, described)))
    table = table.replace_schema_metadata(
        {
            "geo": json.dumps(_geo_metadata(path, geometry, bounds, crs)),
            "emb": _json(path, described),
        }
    )
    _write_atomically(path, table)


def columns(
    task: str,
    label: Label,
    truth: Float[np.ndarray, "r ..."],
    prediction: Float[np.ndarray, "r ..."],
) -> dict[str, np.ndarray]:
    """Columns of one task: `<task>_true` and `<task>_pred`, by class for shares.

    Returns:
        float32 [r] each: `population_true`, `population_pred`, or
        `function_true_residential`, `function_pred_residential` and so on. Of a label
        that is a class, the number of the true one and the probability of each.
    """
    return _named(task, label, "true", truth) | _named(task, label, "pred", prediction)


def interval_columns(
    task: str,
    label: Label,
    low: Float[np.ndarray, "r ..."],
    high: Float[np.ndarray, "r ..."],
) -> dict[str, np.ndarray]:
    """Columns of intervals: `<task>_low` and `<task>_high`, by class for shares.

    None for a label that is a class: probabilities say how sure they are.
    """
    if label.kind == "class":
        return {}
    return _named(task, label, "low", low) | _named(task, label, "high", high)


def _named(
    task: str, label: Label, suffix: str, values: Float[np.ndarray, "r ..."]
) -> dict[str, np.ndarray]:
    values = values.astype(np.float32)
    if values.ndim == 1:
        return {f"{task}_{suffix}": values}
    return {
        f"{task}_{suffix}_{name}": values[:, index]
        for index, name in enumerate(label.classes)
    }


def _check(
    path: Path,
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    embeddings: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> None:
    rows = len(region_ids)
    given = {"geometry_wkb": geometry_wkb, "embeddings": embeddings, **columns}
    for name, values in given.items():
        if len(values) != rows:
            raise InputError(
                f"{path}: {name} has {len(values)} rows for {rows} regions; give one "
                "a region"
            )
    for name, values in columns.items():
        if np.ndim(values) != 1:
            raise InputError(
                f"{path}: column {name} has shape {np.shape(values)}; give one value "
                "a region, such as `columns` makes of shares"
            )
    names, counts = np.unique(np.asarray(region_ids, str), return_counts=True)
    if rows and counts.max() > 1:
        raise InputError(
            f"{path}: region_id {str(names[counts.argmax()])!r} occurs {counts.max()} "
            "times; ids must be unique. Build the records again."
        )
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise InputError(
            f"{path}: {len(broken)} embeddings are not finite, the first of region "
            f"{region_ids[broken[0]]!r}. Check the checkpoint."
        )
    reserved = [name for name in columns if name in RESERVED]
    if reserved:
        raise InputError(
            f"{path}: column {reserved[0]!r} is one of the table's own "
            f"({', '.join(RESERVED)}). Rename the label."
        )


def _geo_metadata(
    path: Path, geometry: np.ndarray, bounds: np.ndarray, crs: str
) -> dict[str, Any]:
    """The `geo` key of the GeoParquet 1.1 specification."""
    try:
        projjson = pyproj.CRS.from_user_input(crs).to_json_dict()
    except CRSError as error:
        raise InputError(
            f"{path}: CRS {crs!r} is unknown ({error}). Give a code such as "
            '"EPSG:32651" as config.city.crs.'
        ) from error
    column = {
        "encoding": "WKB",
        "geometry_types": sorted({item.geom_type for item in geometry}),
        "crs": projjson,
        "covering": {"bbox": {corner: ["bbox", corner] for corner in CORNERS}},
    }
    if len(bounds):
        low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
        column["bbox"] = [*low.tolist(), *high.tolist()]
    return {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": column},
    }


def _json(path: Path, metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the metadata is not JSON ({error}). Use text, numbers, lists "
            "and dicts."
        ) from error


def _write_atomically(path: Path, table: pa.Table) -> None:
    with files.replacing(path) as temporary:
        parquet.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=ROW_GROUP_SIZE,
            write_page_checksum=True,
        )
