"""However a build ends: with a note, a full disk, a kill or one line of error."""

import errno
import logging
import os
import re
import signal
from pathlib import Path

import forks
import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
import small_city

from data_prep import build
from data_prep.records import shards
from mmgr_jax.data import schema
from mmgr_jax.disk import folders
from mmgr_jax.errors import InputError

# ---- what looks bad and is not ----


def _manifest(city, caplog):
    with caplog.at_level(logging.INFO):
        return schema.Manifest.load(build.build(city.config))


def test_a_byte_order_mark_changes_nothing(city, caplog):
    city.csv()
    path = Path(city.pois.path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert _manifest(city, caplog).report["POIs inside"] == 8


def test_polygons_that_cross_themselves_are_repaired_and_counted(city, caplog):
    (west, south), (east, north) = small_city.place_m(0, 1), small_city.place_m(1, 0)
    bow_tie = [(west, south), (east, north), (east, south), (west, north)]
    city.zones([shapely.Polygon(bow_tie), *small_city.zone_table().geometry])
    manifest = _manifest(city, caplog)
    assert manifest.report["labels"]["zones"]["polygons repaired"] == 1
    assert re.search(r"label zones: .*polygons repaired: 1", caplog.text)


def test_geometries_of_several_kinds_and_rows_without_are_counted(city, caplog):
    table = small_city.poi_table(small_city.CRS)
    places = table.geometry.to_list()
    places[0], places[1] = places[0].buffer(2), shapely.LineString(places[1:3])
    places[3], places[4] = None, shapely.Point(np.inf, np.nan)
    table.set_geometry(gpd.GeoSeries(places, crs=table.crs)).to_parquet(city.pois.path)
    city.pois.crs = small_city.CRS
    report = _manifest(city, caplog).report
    assert report["POIs dropped"]["invalid coordinates"] == 2
    assert report["POIs inside"] == 6
    assert "point inside them: 1 Polygon, 1 LineString" in caplog.text
    assert "invalid coordinates: row 4, 5" in caplog.text


def test_fewer_blocks_than_folds_are_warned_of(city, caplog):
    city.config.blocks.size_m = 1000.0
    assert set(_manifest(city, caplog).splits) == {"random"}
    assert "no block split is stored: " in caplog.text
    assert "config.blocks.size_m" in caplog.text


def test_a_table_of_styles_beside_the_zones_is_no_second_layer(city, caplog):
    styles = small_city.poi_table().drop(columns="geometry")
    pyogrio.write_dataframe(styles, city.raw / "zones.gpkg", layer="layer_styles")
    assert "zones" in _manifest(city, caplog).labels


# ---- what cannot be written ----


def _refused(city, message):
    with pytest.raises(InputError, match=message) as raised:
        build.build(city.config)
    assert "\n" not in str(raised.value)


def _finished(city):
    """The files of the records in place, but the manifest with its paths."""
    records = {
        name: content
        for name, content in city.contents().items()
        if name != f"records/{schema.MANIFEST_FILE}"
    }
    assert all(name.startswith("records/") for name in records), list(records)
    return records


@pytest.fixture
def full_disk(monkeypatch):
    """Every shard but the first goes to a device that is always full."""
    whole = shards.ArrayRecordWriter

    def open_writer(path, options):
        if "00000-of" not in path:
            Path(path).symlink_to("/dev/full")
        return whole(path, options)

    monkeypatch.setattr(shards, "ArrayRecordWriter", open_writer)
    return monkeypatch


def test_a_full_disk_is_explained_and_what_was_written_is_kept(city, full_disk, caplog):
    before = city.contents()
    _refused(
        city,
        r"00001-of-00003\.tmp: cannot be written \(No space left on device\)\. Make "
        r"room on its disk, or name a folder on another one in config\.records\.dir",
    )
    after = city.contents()
    assert before.items() <= after.items()
    left = sorted(Path(name).name for name in after.keys() - before.keys())
    shard = schema.shard_name("small_city", 0, 3)
    assert left == [shard, f"{shard}.json", folders.MARK]
    full_disk.undo()
    with caplog.at_level(logging.INFO):
        build.build(city.config)
    assert "going on with 1 finished shard(s)" in caplog.text
    assert before.keys() == city.contents().keys()
    assert _finished(city).items() <= before.items()


def _failing(monkeypatch, owner, name, code, only):
    """Makes a function fail for paths of some name, as the system would."""
    whole = getattr(owner, name)

    def fail(path, *arguments, **options):
        if only in str(path):
            raise OSError(code, os.strerror(code), str(path))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    ("owner", "name", "code", "only", "message"),
    [
        (Path, "mkdir", errno.EACCES, "partial", "Permission denied.*Get the right to"),
        (Path, "mkdir", errno.EROFS, "partial", "Read-only file system.*name another"),
        (Path, "replace", errno.EIO, ".tmp", "Input/output error.*Name another folder"),
        (np, "save", errno.ENOSPC, "vectors", "No space left.*Make room"),
        (Path, "write_text", errno.EDQUOT, ".manifest.json.", ".*quota.*Make room"),
        (Path, "rename", errno.EACCES, "partial", "Permission denied.*Get the right"),
    ],
)
def test_wherever_writing_fails_it_is_explained_and_goes_on_later(
    city, monkeypatch, owner, name, code, only, message
):
    before = _finished(city)
    with monkeypatch.context() as patch:
        _failing(patch, owner, name, code, only)
        _refused(city, rf"records.*: cannot be written \({message}.*config.records.dir")
    records = {k: v for k, v in city.contents().items() if k.startswith("records/")}
    assert before.items() <= records.items()
    build.build(city.config)
    assert _finished(city) == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("thesis", r"thesis: exists, but holds no records .*Name another folder"),
        ("raw/people.tif", r"people.tif: exists, but holds no records .*Name another"),
        (
            "raw/people.tif/records",
            r"people.tif/rec.*\(Not a directory\). Name another",
        ),
    ],
)
def test_what_is_in_the_place_of_records_stays(city, place, message):
    (city.folder / "thesis").mkdir()
    (city.folder / "thesis" / "thesis.tex").write_text("years of work")
    before = city.contents()
    city.config.records.dir = str(city.folder / place)
    _refused(city, message)
    assert city.contents() == before


def test_a_tile_found_damaged_late_leaves_nothing_half_written(city):
    city.regions.max_blank_share = 1.0  # so that tiles are read when they are written
    city.config.records.num_shards = 1
    path = city.imagery(small_city.pixels(), compress="deflate", blockysize=8)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :][:200] = bytes(200)
    path.write_bytes(content[: len(content) // 2] + bytes(300) + content[-2000:])
    before = city.contents()
    with pytest.raises(InputError, match="imagery.tif: cannot be read"):
        build.build(city.config)
    assert city.contents() == before
    assert sorted(part.name for part in city.folder.iterdir()) == ["raw", "records"]


# ---- the command ----

CONFIG = """
import os, signal, sys
sys.path.insert(0, {here!r})
import small_city
from data_prep import sources
from data_prep.records import shards

def killed(shard, encode, whole=shards.write):
    def dying(regions):
        for example in encode(regions):
            yield example
            if shard.first:
                os.kill(os.getpid(), signal.SIGKILL)
    whole(shard, dying)

def forbidden(*_, **__):
    raise PermissionError(13, "Permission denied", "/srv/secret.csv")

if os.path.exists({folder!r} + "/kill"):
    shards.write = killed
if os.path.exists({folder!r} + "/forbid"):
    sources.fingerprint = forbidden

def get_config():
    return small_city.describe({folder!r} + "/raw")
"""


def _command(city, *options):
    path = city.folder / "city.py"
    path.write_text(
        CONFIG.format(here=str(Path(__file__).parent), folder=str(city.folder))
    )
    found = forks.run("-m", "data_prep.build", f"--config={path}", *options)
    path.unlink()
    return found


def test_a_killed_build_is_finished_by_the_same_command(city):
    before = _finished(city)
    (city.folder / "kill").touch()
    assert _command(city).returncode == -signal.SIGKILL
    (city.folder / "kill").unlink()
    left = city.contents()
    assert before.items() <= left.items()
    assert any(name.endswith(".tmp") for name in left)  # it was at work
    result = _command(city)
    assert result.returncode == 0, result.stderr
    assert "going on with 1 finished shard(s)" in result.stdout
    assert _finished(city) == before


@pytest.mark.parametrize(
    ("broken", "options", "message"),
    [
        (
            "imagery.tif",
            [],
            r"small_city: 1 problem\(s\), .*\n  1. .*imagery.tif: cannot",
        ),
        (
            None,
            ["--config.regions.min_coverage=1.5"],
            r"config.regions.min_coverage=1.5; allowed",
        ),
        (None, ["--config.records.dir={raw}/people.tif/records"], r".*Not a directory"),
        ("../forbid", [], r"/srv/secret.csv: Permission denied. Get the right"),
    ],
)
def test_the_command_ends_in_one_error_and_status_2(city, broken, options, message):
    if broken:
        (city.raw / broken).write_text("<html>404 Not Found</html>")
    before = city.contents()
    result = _command(city, *(option.format(raw=city.raw) for option in options))
    assert result.returncode == 2
    assert re.match(f"error: {message}", result.stderr), result.stderr
    assert result.stderr.count("error:") == 1 and "Traceback" not in result.stderr
    assert city.contents() == before
