"""Every reader of foreign bytes: what it reads, how, and what must hold of the result.

A reader takes a folder of files, ends in a result or an `InputError`, and asserts what
is plain to see of a result.
"""

import contextlib
import dataclasses
import functools
import io
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import small_city
import undamaged
import undamaged_results as results
from absl import flags

from configs import common
from data_prep import assign, build, category_embedding, pois, sources
from data_prep import city as city_lib
from data_prep import labels as labels_lib
from data_prep import regions as regions_lib
from data_prep import sections as sections_lib
from data_prep.category_embedding import text as category_text
from data_prep.checks import city as city_checks
from data_prep.checks import labels as label_checks
from data_prep.checks import pois as poi_checks
from data_prep.checks import regions as region_checks
from data_prep.imagery import Imagery
from data_prep.labels import LabelSource
from mmgr_jax import cli
from mmgr_jax.data import tiles
from mmgr_jax.errors import InputError

TABLE = dict(x_column="lon", y_column="lat", crs="EPSG:4326")
OSM = dict(format="osm")


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads files.

    Attributes:
        write: Writes whole files into a folder.
        read: Reads them, damaged or not.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], None]


@functools.cache
def good():
    """A whole city: its settings as plain dicts."""
    folder = Path(tempfile.mkdtemp())
    config = small_city.write(folder)
    config.labels = common.base("x", crs=small_city.CRS).labels
    return sections_lib.read(config)


@functools.cache
def good_imagery():
    """Its imagery, open."""
    grid = dict(crs=small_city.CRS, gsd_m=small_city.GSD_M)
    return Imagery(**good()["imagery"], **grid)


@functools.cache
def good_regions():
    """Its regions."""
    return regions_lib.cut(good_imagery(), small_city.CRS, **good()["regions"])


def refuse(problems):
    """What the checks found, as they tell it together."""
    if problems:
        raise InputError("\n".join(problems))


# ---- imagery, regions ----


def read_imagery(folder, paths="image.*", kind="grid", gsd_m=2.0, **settings):
    """A city of these images: checked, cut into regions, its tiles read."""
    files = [path for path in folder.glob(paths) if path.suffix not in SIDES]
    chosen = [str(path) for path in files] or [str(folder / paths)]
    sections = dict(good())
    sections["imagery"] = {**sections["imagery"], "paths": chosen, **settings}
    sections["regions"] = {**sections["regions"], "kind": kind, "gsd_m": gsd_m}
    sections["regions"]["max_regions"] = 12
    city_checks.check(sections)
    assert sources.files(sections)
    grid = dict(crs=small_city.CRS, gsd_m=gsd_m)
    with Imagery(**sections["imagery"], **grid) as imagery:
        try:
            city = city_lib.gather(sections, imagery)
        except InputError as error:
            if "none of" not in str(error):  # POIs elsewhere: the images are read
                raise
            regions = regions_lib.cut(imagery, small_city.CRS, **sections["regions"])
            for region in range(min(len(regions), 3)):
                assert regions_lib.read(imagery, regions, region).shape == (16, 16, 3)
            return
        chosen = range(min(len(city.regions), 3))
        records = list(city_lib.encoded(city, imagery, chosen, tiles.Writer("png")))
    assert len(records) == len(chosen)
    assert (city.regions.coverage > 0).all()


SIDES = (".tfw", ".pgw", ".jgw", ".xml", ".ovr", ".prj", ".msk")


def read_regions(path, **settings):
    polygons = dict(path=str(path), layer=None, id_column="id", fit="scale", **settings)
    section = {**good()["regions"], "kind": "polygons", "polygons": polygons}
    refuse(region_checks.problems(**section))
    sources.files({**good(), "regions": section})
    found = regions_lib.cut(good_imagery(), small_city.CRS, **section)
    assert len(set(found.ids)) == len(found) > 0
    assert np.isfinite(found.bounds_m).all() and (found.area_m2 > 0).all()
    for region in range(min(len(found), 2)):
        assert regions_lib.read(good_imagery(), found, region).shape == (16, 16, 3)


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
    refuse(label_checks.problems("x", said, extent_deg))
    sources.files({**good(), "labels": {"x": said}})
    regions = good_regions()
    source = LabelSource(**said)
    values, told = labels_lib.extract("x", source, regions, small_city.CRS)
    assert values.dtype == np.float32 and len(values) == len(regions)
    assert not np.isinf(values).any()
    if kind == "count":
        assert np.nansum(values) <= 1.01 * told["total of the source"] + 1e-3
    if kind == "share":
        known = values[~np.isnan(values).any(axis=1)]
        np.testing.assert_allclose(known.sum(axis=1), 1, atol=1e-4)


def read_pois(folder, name, **settings):
    """POIs in the regions of the whole city."""
    said = {**good()["pois"], "crs": None, "parent_column": None}
    said |= {"path": str(folder / name), **settings}
    refuse(poi_checks.problems(**said))
    sources.files({**good(), "pois": said})
    table = pois.read(**said, city_crs=small_city.CRS)
    assert len(table) and np.isfinite(table.x_m + table.y_m).all()
    assert 0 <= table.category.min() <= table.category.max() < len(table.categories)
    assert len(table.parents) == len(table.categories) == len(set(table.categories))
    assign.assign(table, good_regions())


def read_category_list(folder):
    """POIs by the categories of a list."""
    listed = dict(path=str(folder / "list.csv"), names=(), parents=(), unknown="other")
    read_pois(folder, "pois.csv", categories=listed, **TABLE)


def read_osm_rules(folder):
    """An extract by rules of its own."""
    rules = {**good()["pois"]["osm"], "table": str(folder / "rules.csv")}
    read_pois(folder, "city.osm", osm=rules)


def read_vectors(folder, name):
    """Vectors of categories and the phrases of a text encoder."""
    settings = sections_lib.vector_settings(good())
    settings["method"] = "table"
    settings["table"] = dict(
        path=str(folder / name), category_column="category", columns=()
    )
    table = pois.PoiTable(
        np.zeros(1),
        np.zeros(1),
        np.zeros(1, np.int32),
        ("cafe", "公园"),
        ("a", "b"),
        {},
    )
    vectors = category_embedding.make_vectors(table, **settings)
    assert len(vectors) == 2 and np.isfinite(vectors).all()
    said = category_text.phrases(
        ("cafe", "park"), ("food", "land"), template="{name} ({parent})",
        template_alone="{name}", path=str(folder / "phrases.csv"),
    )  # fmt: skip
    assert len(said) == 2 and all(said)


def read_features(folder, name):
    """Features that somebody else made."""
    from mmgr_jax.evaluators import feature_tables

    found = feature_tables.read("t", str(folder / name), ["a", "b"])
    assert len(found) == 2 and np.isfinite(found).all()
    feature_tables.about("t", str(folder / name))


def write_settings(folder, given):
    """A line a setting, as on a command line."""

    def lines(prefix, section):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from lines(f"{prefix}.{key}", value)
            elif value not in (None, ()):
                yield f"--config.{prefix}.{key}={value}"

    told = [line for name, of in given().items() for line in lines(name, of or {})]
    (folder / "settings.txt").write_text("\n".join(told))


def _config(folder, name, argument):
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
    raw = Path(good()["pois"]["path"]).parent
    with contextlib.redirect_stdout(io.StringIO()):
        build.build(_config(folder, "city", raw), dry_run=True)


@functools.cache
def _good_records():
    folder = Path(tempfile.mkdtemp())
    results.records(folder)
    return folder


def _training():
    from small_configs import get_config

    config = get_config(f"records={_good_records()}")
    names = ("data", "augment", "model", "loss", "optim", "train", "init", "eval")
    return {name: config[name].to_dict() for name in names}


def read_training(folder):
    """A run by a command line, before its first step."""
    from mmgr_jax import experiment

    experiment.build(_config(folder, "records", _good_records()))


# ---- released samples, weights, results ----


def read_released(folder):
    """A released sample, its pixels too."""
    import released_sample

    from data_prep.import_released import images, sample

    config = released_sample.describe(str(folder / "raw"))
    config.released.centres = str(folder / "raw" / "centres.csv")
    config.released.tile_size_m = 1000.0
    released = config.released.to_dict()
    found = sample.read("x", "EPSG:32651", 1500.0, **released)
    for name in found.regions:
        side = found.tile_size_px
        assert images.read(found.images[name], side).shape == (side, side, 3)
        edges, number = found.pois.edges[name], len(found.pois.category[name])
        assert not len(edges) or 0 <= edges.min() <= edges.max() < number
    assert np.isfinite(found.pois.vectors).all()


@functools.cache
def _like():
    return results.like()


def read_weights(folder, name):
    """Weights of an image encoder."""
    import jax

    from mmgr_jax.models import layouts, parts, torch_files

    held = torch_files.read_state_dict(folder / name)
    like = _like()
    unified, _ = layouts.unified(held, like["params"]["image_encoder"])
    unified, _ = parts.with_resampled_positions(unified, like)
    found = parts.image_encoder_from_torch(unified, like)
    shapes = [leaf.shape for leaf in jax.tree.leaves(found)]
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(like)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def read_report(folder):
    """A report as a page, and beside another one."""
    from mmgr_jax import compare
    from mmgr_jax.page import __main__ as page

    path = folder / "eval" / "report.json"
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            page.main([str(path)])
        except SystemExit as ended:
            assert ended.code == 2 and told.getvalue().startswith("error: ")
            assert told.getvalue().count("\n") == 1
        compare.main([str(folder)])


def read_records(folder):
    """Records that somebody passed on."""
    from mmgr_jax.data.source import RecordSource

    source = RecordSource(folder)
    found = source.read(range(len(source)), image=True)
    assert all(row["image"].shape == (32, 32, 3) for row in found)
    vectors = source.category_vectors()
    assert len(vectors) == len(source.manifest.categories)
    assert np.isfinite(vectors).all()


def read_text_space(folder):
    """What takes texts to vectors."""
    from mmgr_jax.data.texts import TextSpace

    space = TextSpace.load(folder)
    found = space.project(np.ones((2, len(space.mean))))
    assert len(found) == 2 and np.isfinite(found).all()


def read_arrays(folder):
    """Arrays of heads."""
    from mmgr_jax import stored

    arrays, _ = stored.load(folder / "a")
    assert np.isfinite(arrays["x"]).all()


def read_metrics(folder):
    """The rows of a run that goes on."""
    from mmgr_jax import metrics

    rows, _ = metrics._rows(folder / "metrics.jsonl")
    assert all(isinstance(row["step"], int) for row in rows)


def _imagery():
    xyz = dict(paths="16/*/*.png", grid="xyz", gsd_m=16.0)
    return {
        "imagery tiled": Reader(undamaged.geotiff, read_imagery),
        "imagery 16 bit": Reader(
            undamaged.geotiff_striped,
            partial(read_imagery, bands=(3, 2, 1), stretch=("percentile", 2, 98)),
        ),
        "imagery .tfw": Reader(undamaged.world_file, read_imagery),
        "imagery png": Reader(undamaged.png, read_imagery),
        "imagery jpeg": Reader(undamaged.jpeg, read_imagery),
        "imagery jp2": Reader(undamaged.jpeg_2000, read_imagery),
        "imagery img": Reader(undamaged.erdas, read_imagery),
        "imagery asc": Reader(
            undamaged.ascii_grid,
            partial(read_imagery, bands=(1, 1, 1), stretch=("linear", 0, 255)),
        ),
        "imagery vrt": Reader(
            undamaged.mosaic, partial(read_imagery, paths="image.vrt")
        ),
        "imagery chips": Reader(
            undamaged.chips, partial(read_imagery, paths="?.tif", kind="chips")
        ),
        "imagery z/x/y": Reader(undamaged.web_tiles, partial(read_imagery, **xyz)),
    }


def _labels():
    people = dict(column="people")
    place = dict(x_column="x", y_column="y", crs=small_city.CRS)
    label = {
        "raster": (undamaged.label_raster, "label.tif", "count", {}),
        "raster packed": (undamaged.packed_raster, "label.tif", "density", {}),
        "points csv": (undamaged.points, "points.csv", "count", people | place),
    }
    for name, kind, settings in (
        ("zones.gpkg", "share", dict(column="zone")),
        ("zones.shp", "count", people),
        ("zones.geojson", "density", people),
        ("zones.fgb", "class", dict(column="zone")),
        ("zones.parquet", "scalar", people),
    ):
        write = partial(undamaged.zones, name=name)
        label[f"polygons {name[6:]}"] = (write, name, kind, settings)
    for name, kind in (("table.csv", "share"), ("table.parquet", "count")):
        settings = dict(id_column="id") | (people if kind == "count" else {})
        write = partial(undamaged.label_table, name=name)
        label[f"table {name[6:]}"] = (write, name, kind, settings)
    return {
        f"label {what}": Reader(
            write, partial(read_label, name=name, kind=kind, **settings)
        )
        for what, (write, name, kind, settings) in label.items()
    }


def _pois():
    found = {}
    for name in ("csv", "csv.gz", "tsv", "txt", "jsonl", "parquet"):
        settings = TABLE | dict(parent_column="parent")
        found[name] = (f"pois.{name}", settings)
    for name in ("gpkg", "geojson", "geojsonl", "shp", "zip", "fgb"):
        found[name] = (f"pois.{name}", dict(parent_column="parent"))
    found["geoparquet"] = ("places.parquet", {})
    readers = {
        what: Reader(
            partial(undamaged.pois, name=name),
            partial(read_pois, name=name, **settings),
        )
        for what, (name, settings) in found.items()
    }
    readers |= {
        "overture": Reader(
            undamaged.overture,
            partial(read_pois, name="places.parquet", format="overture"),
        ),
        "osm xml": Reader(undamaged.osm_xml, partial(read_pois, name="city.osm")),
        "osm pbf": Reader(undamaged.osm_pbf, partial(read_pois, name="city.osm.pbf")),
        "osm geojson": Reader(
            undamaged.osm_geojson, partial(read_pois, name="city.geojson", **OSM)
        ),
        "list of categories": Reader(undamaged.category_lists, read_category_list),
        "osm rules": Reader(undamaged.osm_rules, read_osm_rules),
    }
    return {f"POIs {what}": reader for what, reader in readers.items()}


def _regions():
    return {
        f"regions {kind}": Reader(
            partial(undamaged.zones, name=f"zones.{kind}"),
            lambda folder, kind=kind: read_regions(folder / f"zones.{kind}"),
        )
        for kind in ("gpkg", "geojson", "shp", "zip", "fgb", "parquet")
    }


def _numbers():
    found = {
        f"features {kind}": Reader(
            partial(undamaged.features, name=f"table.{kind}"),
            partial(read_features, name=f"table.{kind}"),
        )
        for kind in ("csv", "csv.gz", "parquet", "npz")
    }
    for kind in ("csv", "parquet"):
        found[f"category vectors {kind}"] = Reader(
            partial(undamaged.category_vectors, name=f"vectors.{kind}"),
            partial(read_vectors, name=f"vectors.{kind}"),
        )
    for name in ("image.safetensors", "image.pth"):
        found[f"weights {name[6:]}"] = Reader(
            partial(results.weights, name=name), partial(read_weights, name=name)
        )
    wrapped = partial(read_weights, name="image.pth.tar")
    return found | {"weights wrapped": Reader(results.wrapped_weights, wrapped)}


def _results():
    return {
        "released sample": Reader(results.released, read_released),
        "report": Reader(results.report, read_report),
        "report with hash": Reader(results.report_with_hash, read_report),
        "records": Reader(results.records, read_records),
        "text space": Reader(undamaged.text_space, read_text_space),
        "heads": Reader(results.arrays, read_arrays),
        "metrics": Reader(results.metrics, read_metrics),
        "settings": Reader(partial(write_settings, given=good), read_settings),
        "training settings": Reader(
            partial(write_settings, given=_training), read_training
        ),
    }


READERS = _imagery() | _labels() | _pois() | _regions() | _numbers() | _results()
"""All of them, by name."""
