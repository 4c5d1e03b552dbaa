"""How each part of a city is read from foreign files, and what must hold of it.

A function takes a folder of files, ends in a result or an `InputError`, and asserts
what is plain to see of a result.
"""

import contextlib
import dataclasses
import functools
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import small_city
from absl import flags

from configs import common
from data_prep import build, sources
from data_prep import check as city_checks
from data_prep import city as city_lib
from data_prep import settings as settings_lib
from data_prep.imagery.mosaic import Imagery
from data_prep.labels import check as label_checks
from data_prep.labels import extraction
from data_prep.labels.settings import LabelSettings
from data_prep.pois import assign, table
from data_prep.pois import check as poi_checks
from data_prep.regions import check as region_checks
from data_prep.regions import cutting
from data_prep.regions import tiles as region_tiles
from mmgr_jax import cli
from mmgr_jax.data import tiles
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

TABLE = dict(x_column="lon", y_column="lat", crs="EPSG:4326")
# All cells that images declare are looked at, which may take its time.
MOST_CELLS = 5000
SIDES = (".tfw", ".pgw", ".jgw", ".xml", ".ovr", ".prj", ".msk")


@functools.cache
def good():
    """A whole city: its settings."""
    folder = Path(tempfile.mkdtemp())
    config = small_city.write(folder)
    config.labels = common.base("x", crs=small_city.CRS).labels
    return settings_lib.read(config)


@functools.cache
def good_imagery():
    """Its imagery, open."""
    grid = dict(crs=small_city.CRS, gsd_m=small_city.GSD_M)
    return Imagery(good().imagery, **grid)


@functools.cache
def good_regions():
    """Its regions."""
    return cutting.cut(good_imagery(), small_city.CRS, good().regions)


def changed(**sections):
    """The settings of the city, some of them others."""
    given = dataclasses.asdict(good())
    for name, settings in sections.items():
        given[name].update(settings)
    return read(settings_lib.PreparationSettings, given)


def refuse(problems):
    """What the checks found, as they tell it together."""
    if problems:
        raise InputError("\n".join(problems))


# ---- imagery, regions ----


def read_imagery(folder, paths="image.*", kind="grid", gsd_m=2.0, **settings):
    """A city of these images: checked, cut into regions, its tiles read."""
    files = [path for path in folder.glob(paths) if path.suffix not in SIDES]
    chosen = [str(path) for path in files] or [str(folder / paths)]
    given = changed(
        imagery=dict(paths=tuple(chosen), **settings),
        regions=dict(kind=kind, gsd_m=gsd_m, max_regions=12),
    )
    city_checks.check(given)
    assert sources.files(given)
    grid = dict(crs=small_city.CRS, gsd_m=gsd_m)
    with Imagery(given.imagery, **grid) as imagery:
        if _cells(imagery) > MOST_CELLS:
            return
        try:
            city = city_lib.gather(given, imagery)
        except InputError as error:
            if "none of" not in str(error):  # POIs elsewhere: the images are read
                raise
            regions = cutting.cut(imagery, small_city.CRS, given.regions)
            for region in range(min(len(regions), 3)):
                assert region_tiles.read(imagery, regions, region).shape == (16, 16, 3)
            return
        chosen = range(min(len(city.regions), 3))
        records = list(city_lib.encoded(city, imagery, tiles.TileWriter("png"), chosen))
    assert len(records) == len(chosen)
    assert (city.regions.coverage > 0).all()


def _cells(imagery):
    west, south, east, north = imagery.bounds_m
    return (east - west) * (north - south) / small_city.TILE_M**2


def read_regions(path, **settings):
    polygons = dict(path=str(path), id_column="id", fit="scale", **settings)
    given = changed(regions=dict(kind="polygons", polygons=polygons))
    refuse(region_checks.problems(given.regions))
    sources.files(given)
    found = cutting.cut(good_imagery(), small_city.CRS, given.regions)
    assert len(set(found.ids)) == len(found) > 0
    assert np.isfinite(found.bounds_m).all() and (found.area_m2 > 0).all()
    for region in range(min(len(found), 2)):
        assert region_tiles.read(good_imagery(), found, region).shape == (16, 16, 3)


# ---- labels, POIs ----


def read_label(folder, name, kind, **settings):
    """A label of the regions of the whole city."""
    units = dict(count="persons", density="persons/km2", scalar="m")
    said = dict(
        kind=kind, path=str(folder / name), unit=units.get(kind, "1"), **settings
    )
    if kind in ("share", "class"):
        said["classes"] = small_city.CLASSES
    extent_deg = (122.99, 31.17, 123.01, 31.19)
    source = read(LabelSettings, said, "labels.x")
    refuse(label_checks.problems("x", source, extent_deg))
    sources.files(dataclasses.replace(good(), labels={"x": source}))
    regions = good_regions()
    values, told = extraction.extract("x", source, regions, small_city.CRS)
    assert values.dtype == np.float32 and len(values) == len(regions)
    assert not np.isinf(values).any()
    if kind == "count":
        assert np.nansum(values) <= 1.01 * told["total of the source"] + 1e-3
    if kind == "share":
        known = values[~np.isnan(values).any(axis=1)]
        np.testing.assert_allclose(known.sum(axis=1), 1, atol=1e-4)


def read_pois(folder, name, **settings):
    """POIs in the regions of the whole city."""
    path = str(folder / name)
    given = changed(pois=dict(crs=None, parent_column=None, path=path) | settings)
    refuse(poi_checks.problems(given.pois))
    sources.files(given)
    found = table.read(given.pois, city_crs=small_city.CRS)
    assert len(found) and np.isfinite(found.x_m + found.y_m).all()
    assert 0 <= found.category.min() <= found.category.max() < len(found.categories)
    assert len(found.parents) == len(found.categories) == len(set(found.categories))
    assign.assign(found, good_regions())


def read_category_list(folder):
    """POIs by the categories of a list."""
    listed = dict(path=str(folder / "list.csv"), unknown="other")
    read_pois(folder, "pois.csv", categories=listed, **TABLE)


def read_osm_rules(folder):
    """An extract by rules of its own."""
    read_pois(folder, "city.osm", osm=dict(table=str(folder / "rules.csv")))


def write_settings(folder, given):
    """A line a setting, as on a command line."""

    def lines(prefix, section):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from lines(f"{prefix}.{key}", value)
            elif value not in (None, ()):
                yield f"--config.{prefix}.{key}={value}"

    given = given()
    if dataclasses.is_dataclass(given):
        given = dataclasses.asdict(given)
    told = [line for name, of in given.items() for line in lines(name, of or {})]
    (folder / "settings.txt").write_text("\n".join(told))


def config_of(folder, name, argument):
    """The config of a command line with the settings of a folder."""
    given = (folder / "settings.txt").read_bytes().decode("utf-8", "surrogateescape")
    given = given.replace("\0", "")  # which no command line can hold
    given = [line for line in given.split("\n") if line.startswith("--config.")]
    file = Path(__file__).with_name("small_configs.py")
    for known in list(flags.FLAGS):  # of the command line before
        if known.startswith("config."):
            delattr(flags.FLAGS, known)
    flags.FLAGS.unparse_flags()
    sys.argv = ["build", f"--config={file}:{name}={argument}", *given]
    cli._parse(sys.argv)
    return cli._config()


def read_settings(folder):
    """What a build would do by a command line."""
    raw = Path(good().pois.path).parent
    with contextlib.redirect_stdout(io.StringIO()):
        build.build(config_of(folder, "city", raw), dry_run=True)
