"""From a config to the table of category vectors: what the command line does."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from ml_collections import ConfigDict

from data_prep import category_embedding, pois
from data_prep import crs as crs_lib
from data_prep.category_embedding import neighbours
from data_prep.category_embedding.stage import stage
from data_prep.checks import common
from data_prep.checks import pois as poi_checks
from data_prep.pois import PoiTable
from mmgr_jax import cli
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError

NEIGHBOURS_FILE = "category_neighbours.txt"

_USAGE = """Makes the vectors of a city's POI categories from its POI table.

They replace those in the records folder, or go to a file of their own. Beside them
category_neighbours.txt shows the nearest categories of each.

Usage:
    python -m data_prep.category_embedding --config=configs/toy_city.py
    python -m data_prep.category_embedding --config=configs/shanghai.py \\
        --config.category_vectors.out=vectors.npy
    python -m data_prep.category_embedding --config=configs/shanghai.py \\
        --config.category_vectors.method=table \\
        --config.category_vectors.table.path=my_vectors.csv
"""


def write(config: ConfigDict) -> Path:
    """Makes the category vectors a config asks for and writes them.

    Args:
        config: The city's configuration: `city`, `pois`, `category_vectors` and, where
            `category_vectors.out` is None, `records.dir`.

    Returns:
        The file with the vectors, float32 [k d] in the order of the categories.

    Raises:
        InputError: If POIs or settings are unfit, or records beside the file have
            other categories than the POIs.
    """
    settings = config.category_vectors.to_dict()
    path = _path(settings.pop("out"), config)
    with stage("total"):
        manifest = _manifest(path, wanted=config.category_vectors.out is None)
        with stage("POIs"):
            table = _read_pois(config)
        if manifest is not None:
            _refuse_other_categories(manifest.categories, table, path.parent)
        found = category_embedding.make_vectors(table, **settings)
        made = json.dumps({"city": config.city.name, **settings})
        text = neighbours.describe(table, found, made)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(NEIGHBOURS_FILE)
        _replace(beside, lambda file: file.write(text.encode()))
        _replace(path, lambda file: np.save(file, found))
    print(f"{path}: {len(found)} categories, {found.shape[1]} numbers each; ", end="")
    print(f"{neighbours.separation(table.parents, found)}; to look at: {beside}")
    return path


def main() -> None:
    """Entry point of `python -m data_prep.category_embedding`."""
    cli.run(_command, _USAGE)


def _command(config: ConfigDict) -> None:
    write(config)


def _path(out: str | None, config: ConfigDict) -> Path:
    if out is None:
        default = f"data/{config.city.name}/records"
        return Path(config.records.dir or default) / schema.CATEGORY_VECTORS_FILE
    if not out.endswith(".npy"):
        raise InputError(
            f"config.category_vectors.out is {out!r}; allowed: a file name that ends "
            "in .npy, or None for the records folder's own table."
        )
    return Path(out)


def _manifest(path: Path, *, wanted: bool) -> schema.Manifest | None:
    """The manifest of the records beside a file, where there are any."""
    if wanted or (path.parent / schema.MANIFEST_FILE).exists():
        return schema.Manifest.load(path.parent)
    return None


def _read_pois(config: ConfigDict) -> PoiTable:
    settings = config.pois.to_dict()
    crs_problem = crs_lib.problem(config.city.crs)
    found = [crs_problem] if crs_problem else []
    found += poi_checks.problems(**settings)
    if found:
        raise InputError("\n".join(found))
    table = pois.read(**settings, city_crs=config.city.crs)
    left_out = pois.counted(table.dropped)
    logging.info(
        "%d POIs of %d categories%s",
        len(table),
        len(table.categories),
        f"; left out: {left_out}" if left_out else "",
    )
    return table


def _refuse_other_categories(
    recorded: Sequence[str], table: PoiTable, records_dir: Path
) -> None:
    if tuple(recorded) == table.categories:
        return
    lost = sorted(set(recorded) - set(table.categories))
    new = sorted(set(table.categories) - set(recorded))
    differences = []
    if lost:
        differences.append(f"only the records have {common.names(lost)}")
    if new:
        differences.append(f"only the POI table has {common.names(new)}")
    raise InputError(
        f"{records_dir}: its records were made from other categories than "
        f"config.pois.path has now ({'; '.join(differences) or 'the order differs'}), "
        "so the rows of a new table would not be theirs. Build the records again with "
        "`python -m data_prep.build --config=...`, or write the vectors elsewhere with "
        "--config.category_vectors.out=FILE.npy."
    )


def _replace(path: Path, write_to: Callable[[IO[bytes]], object]) -> None:
    """Writes a file beside its place and renames it: it is never half there."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        write_to(file)
    temporary.replace(path)
