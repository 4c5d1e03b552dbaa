"""Makes the table of category vectors of a config, for the command line."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from data_prep import comparison
from data_prep import settings as settings_lib
from data_prep.category_embedding import neighbours
from data_prep.category_embedding import vectors as vectors_lib
from data_prep.category_embedding.stage import stage
from data_prep.files import crs as crs_lib
from data_prep.files import disk, faults
from data_prep.pois import check as poi_checks
from data_prep.pois import table as pois
from data_prep.pois.table import PoiTable
from data_prep.records import writer
from data_prep.settings import PreparationSettings
from mmgr_jax import summary
from mmgr_jax.data import schema, texts
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.terminal import visible

NEIGHBOURS_FILE = "category_neighbours.txt"


@dataclasses.dataclass(frozen=True)
class _Made:
    """Vectors, what decided them, and what there is to tell."""

    pois: PoiTable
    vectors: Float32[np.ndarray, "k d"]
    space: texts.TextSpace | None
    recipe: Mapping[str, Any]
    neighbours: str
    separation: str


def write(config: ConfigDict) -> Path:
    """Makes the category vectors of a config and writes them.

    Args:
        config: The city's configuration: `city`, `pois`, `category_vectors` and, where
            `category_vectors.out` is None, `records`.

    Returns:
        The file with the vectors, float32 [k d] in the order of the categories.

    Raises:
        InputError: If POIs or settings cannot be used; see also `write_to_records`.
    """
    settings = settings_lib.read(config)
    out = settings.category_vectors.out
    if out is None:
        return _end(*_write_to_records(settings))
    if not out.endswith(".npy") or Path(out).name == schema.CATEGORY_VECTORS_FILE:
        raise InputError(
            f"config.category_vectors.out is {out!r}; allowed: a file name that ends "
            f"in .npy, other than {schema.CATEGORY_VECTORS_FILE}, or None for the "
            "records folder's own table."
        )
    with stage("total"):
        made = _make(settings, _read_pois(settings))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    return _end(made, _save(made, Path(out)))


def write_to_records(config: ConfigDict) -> Path:
    """Makes the table in the records again and notes its settings in their manifest.

    `build.ensure` then keeps the table while the settings stay the same.

    Args:
        config: As in `write`.

    Returns:
        The file with the vectors.

    Raises:
        InputError: If POIs or settings cannot be used, there are no records, or the
            records were imported or have other categories than the POIs.
    """
    made, path = _write_to_records(settings_lib.read(config))
    logging.info("%s: %s", path, _figures(made))
    return path


def _write_to_records(settings: PreparationSettings) -> tuple[_Made, Path]:
    folder = settings.records_dir
    manifest = schema.Manifest.load(folder)
    if comparison.is_imported(manifest.config):
        raise InputError(
            f"{folder}: these records were imported with their own vectors and "
            "without the places of their POIs, so no new vectors can be learnt from "
            "them. Build records from your own POIs with `python -m "
            "data_prep.build`, or write the vectors elsewhere with "
            "--config.category_vectors.out=FILE.npy."
        )
    with stage("total"):
        made = _make(settings, _read_pois(settings))
        _refuse_other_categories(manifest.categories, made.pois, folder)
    with writer.alone(folder):
        _declare(manifest, folder, {})  # stopped here, vectors fit no settings
        path = _save(made, folder / schema.CATEGORY_VECTORS_FILE)
        tables = (schema.CATEGORY_VECTORS_FILE, texts.FILE)
        _declare(manifest, folder, made.recipe, changed=tables)
    return made, path


def _end(made: _Made, path: Path) -> Path:
    """The end of the command."""
    beside = path.with_name(NEIGHBOURS_FILE)
    summary.end([_figures(made)], {"vectors": path, "to look at": beside})
    return path


def _figures(made: _Made) -> str:
    k, d = made.vectors.shape
    return f"{k} categories, {d} numbers each; {made.separation}"


def _read_pois(settings: PreparationSettings) -> PoiTable:
    crs = settings.city.crs
    crs_problem = crs_lib.problem(crs)
    problems = [crs_problem] if crs_problem else []
    problems += poi_checks.problems(settings.pois)
    if problems:
        raise InputError("\n".join(problems))
    with stage("POIs"):
        table = pois.read(settings.pois, city_crs=crs)
    left_out = pois.counted(table.dropped)
    logging.info(
        "%d POIs of %d categories%s",
        len(table),
        len(table.categories),
        f"; left out: {left_out}" if left_out else "",
    )
    return table


def _make(settings: PreparationSettings, table: PoiTable) -> _Made:
    made = vectors_lib.make(table, settings.category_vectors)
    recipe = comparison.recipe(settings.category_vectors)
    recipe_json = json.dumps({"city": settings.city.name, **recipe})
    return _Made(
        pois=made.pois,
        vectors=made.vectors,
        space=made.space,
        recipe=recipe,
        neighbours=neighbours.describe(made.pois, made.vectors, recipe_json),
        separation=neighbours.separation(made.pois.parents, made.vectors),
    )


def _save(made: _Made, path: Path) -> Path:
    """Writes the vectors, with what belongs beside them."""
    beside = path.with_name(NEIGHBOURS_FILE)
    listing = visible(made.neighbours, keep="\n").encode()
    _replace(beside, lambda file: file.write(listing))
    space = path.with_name(texts.FILE)
    if made.space is None:
        space.unlink(missing_ok=True)  # that of the vectors before
    else:
        content = made.space.to_bytes()
        _replace(space, lambda file: file.write(content))
    _replace(path, lambda file: np.save(file, made.vectors))
    return path


def _declare(
    manifest: schema.Manifest,
    folder: Path,
    recipe: Mapping[str, Any],
    changed: Sequence[str] = (),
) -> None:
    """Notes in a manifest what made the vectors, where it notes settings at all.

    Args:
        manifest: As it was before.
        folder: Of the records.
        recipe: What made the vectors.
        changed: The files that were written anew.
    """
    config = dict(manifest.config)
    if config:
        config[comparison.VECTORS] = recipe
    dataclasses.replace(manifest, config=config).save(folder, changed)


def _refuse_other_categories(
    recorded: Sequence[str], table: PoiTable, records_dir: Path
) -> None:
    if tuple(recorded) == table.categories:
        return
    lost = sorted(set(recorded) - set(table.categories))
    new = sorted(set(table.categories) - set(recorded))
    differences = []
    if lost:
        differences.append(f"only the records have {faults.names(lost)}")
    if new:
        differences.append(f"only the POI table has {faults.names(new)}")
    raise InputError(
        f"{records_dir}: its records were made from other categories than "
        f"config.pois.path has now ({'; '.join(differences) or 'the order differs'}), "
        "so the rows of a new table would not match them. Build the records again "
        "with `python -m data_prep.build --config=...`, or write the vectors "
        "elsewhere with --config.category_vectors.out=FILE.npy."
    )


def _replace(path: Path, write_to: Callable[[IO[bytes]], object]) -> None:
    """Writes a file beside its place and renames it: it is never half there."""
    with (
        disk.writing(path, "config.category_vectors.out"),
        files.replacing(path) as temporary,
        temporary.open("wb") as file,
    ):
        write_to(file)
