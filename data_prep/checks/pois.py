"""Is the file of POIs fit to be read?"""

from __future__ import annotations

from pathlib import Path

from data_prep import crs as crs_lib
from data_prep import vectors
from data_prep.checks import common
from mmgr_jax.errors import InputError


def problems(
    *,
    path: str | None,
    crs: str | None,
    datum: str,
    category_column: str,
    parent_column: str | None,
    x_column: str | None,
    y_column: str | None,
    layer: str | None = None,
) -> list[str]:
    """Everything that keeps a file from being read as POIs; see `pois.read`."""
    columns = [category_column, parent_column, x_column, y_column]
    wanted = [name for name in columns if name]
    if path is None or not Path(path).is_file():
        return [
            f"config.pois.path {path!r}: no such file. Wanted: {vectors.FORMATS} with "
            f"one point a row, column(s) {', '.join(map(repr, wanted))}, coordinates "
            f"in {crs or 'the CRS the file names'}, datum {datum}."
        ]
    try:
        header = vectors.header(path, layer)
    except common.UNREADABLE as error:
        return [common.no_table(path, error)]
    found = common.column_problems(path, header, wanted, "config.pois")
    if header.num_rows == 0:
        found.append(f"{path}: holds no row. Wanted: one POI a row.")
    if datum not in crs_lib.DATUMS:
        found.append(
            f"config.pois.datum is {datum!r}; allowed: {', '.join(crs_lib.DATUMS)}."
        )
    if (x_column is None) != (y_column is None):
        found.append("config.pois: give both x_column and y_column, or neither.")
    elif x_column is None and not header.has_geometry:
        found.append(
            f"{path}: has no geometries, so config.pois.x_column and y_column must "
            f"name its coordinates; its columns: {common.names(header.columns)}."
        )
    file_crs = header.crs if x_column is None else None
    return found + _declared_crs_problems(path, crs, file_crs)


def _declared_crs_problems(
    path: str, declared: str | None, file_crs: str | None
) -> list[str]:
    if declared is None and file_crs is None:
        return [
            f"{path}: names no CRS, so config.pois.crs must, such as 'EPSG:4326' for "
            "longitude and latitude."
        ]
    try:
        if declared and file_crs and not crs_lib.same(declared, file_crs):
            return [
                f"config.pois.crs is {declared!r}, but {path} is in "
                f"{crs_lib.parse(file_crs).name!r}. Declare that one, or None, or "
                "correct the file."
            ]
        crs_lib.parse(declared or file_crs or "")
    except InputError as error:
        return [f"config.pois.crs: {error}"]
    return []
