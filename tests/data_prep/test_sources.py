"""Which files a city is made from, by content, and every change of one of them."""

import json
import logging
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
import small_city
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep import build, generated, sources
from data_prep import settings as settings_lib
from data_prep.files import side_files
from data_prep.records import writer
from mmgr_jax.data import contents, record_format, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

PAM = "<PAMDataset><SRS>EPSG:32651</SRS>{}</PAMDataset>"
STATISTICS = (
    '<PAMRasterBand band="1"><Histograms><HistItem/></Histograms><Metadata>'
    '<MDI key="STATISTICS_MEAN">{}</MDI></Metadata></PAMRasterBand>'
)


@pytest.fixture
def config(tmp_path):
    return small_city.write(tmp_path)


def raw_of(config):
    return Path(config.pois.path).parent


def found_in(config):
    return sources.files(settings_lib.read(config))


class Watch:
    """The sources as they were, and what changed since."""

    def __init__(self, config):
        self.config = config
        self.stamps = contents.Stamps(raw_of(config) / "none" / "stamps.json")
        self.described = sources.describe(
            found_in(config), raw_of(config).parent / "records", self.stamps
        )

    def changed(self):
        return sources.changed(self.described, found_in(self.config), self.stamps)


def as_jpeg(config, name="imagery.jpg"):
    """The imagery as a JPEG that a world file and a .aux.xml place."""
    raw = raw_of(config)
    rasterio.shutil.copy(raw / "imagery.tif", raw / name, driver="JPEG")
    (raw / name).with_suffix(".jgw").write_text(
        f"2.0\n0\n0\n-2.0\n{small_city.WEST_M + 1}\n{small_city.NORTH_M - 1}\n"
    )
    wkt = rasterio.crs.CRS.from_string(small_city.CRS).to_wkt().replace('"', "&quot;")
    (raw / f"{name}.aux.xml").write_text(PAM.format("").replace("EPSG:32651", wkt))
    (raw / "imagery.tif").unlink()
    config.imagery.paths = (str(raw / name),)
    return raw / name


def mosaic(path, *members):
    """A VRT of rasters, as gdalbuildvrt writes it."""
    with rasterio.open(members[0]) as first:
        place, size = first.transform.to_gdal(), (first.width, first.height)
        wkt = first.crs.to_wkt()
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        + "".join(
            "<SimpleSource><SourceFilename relativeToVRT='1'>"
            f"{os.path.relpath(member, path.parent)}</SourceFilename>"
            f"<SourceBand>{band}</SourceBand></SimpleSource>"
            for member in members
        )
        + "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{size[0]}" rasterYSize="{size[1]}"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{', '.join(map(str, place))}</GeoTransform>{bands}</VRTDataset>"
    )
    return path


SIDES = {
    "imagery.jgw": "2.0\n0\n0\n-2.0\n500065.0\n3449999.0\n",
    "imagery.jpg.ovr": "overviews",
    "imagery.jpg.msk": "a mask",
    "imagery.jpg.msk.ovr": "its overviews",
    "imagery.prj": "PROJCS[]",
    "imagery_RPC.TXT": "LINE_OFF: 1",
    "IMAGERY.wld": "in capitals",
}


@pytest.mark.parametrize("name", SIDES)
def test_a_file_beside_the_imagery_counts(config, name):
    path = as_jpeg(config)
    watch = Watch(config)
    assert watch.changed() == []
    (path.parent / name).write_text(SIDES[name])
    assert [Path(of).name for of in watch.changed()] == [name]
    watch = Watch(config)
    (path.parent / name).write_text(SIDES[name] + " ")
    assert [Path(of).name for of in watch.changed()] == [name]
    (path.parent / name).unlink()
    assert [Path(of).name for of in watch.changed()] == [name]
    (path.parent / "imagery2.jgw").write_text("of another file")
    assert [Path(of).name for of in watch.changed()] == [name]


def test_statistics_that_a_viewer_writes_change_nothing(config):
    raw = raw_of(config)
    watch = Watch(config)
    beside = raw / "imagery.tif.aux.xml"
    beside.write_text(f"<PAMDataset>{STATISTICS.format(3)}</PAMDataset>")
    assert watch.changed() == []
    beside.write_text(PAM.format(STATISTICS.format(3)))
    assert watch.changed() == ["imagery.paths[0]/imagery.tif.aux.xml"]
    watch = Watch(config)
    beside.write_text(PAM.format(STATISTICS.format(4)))
    assert watch.changed() == []
    beside.write_text(PAM.format("<Metadata><MDI key='SCALE'>2</MDI></Metadata>"))
    assert watch.changed() == ["imagery.paths[0]/imagery.tif.aux.xml"]


@pytest.mark.parametrize("deep", [0, 1])
def test_members_of_mosaics_count_and_of_mosaics_in_them(config, deep):
    raw = raw_of(config)
    (raw / "deep").mkdir()
    jpeg = as_jpeg(config, "deep/sheet.jpg")
    inner = mosaic(raw / "inner.vrt", jpeg)
    outer = mosaic(raw / "outer.vrt", inner) if deep else inner
    config.imagery.paths = (str(outer),)
    assert len(build.open_imagery(settings_lib.read(config)).files) == 1
    watch = Watch(config)
    assert watch.changed() == []
    jpeg.with_suffix(".jgw").write_text("2.0\n0\n0\n-2.0\n500065.0\n3449999.0\n")
    assert [Path(of).name for of in watch.changed()] == ["sheet.jgw"]
    with jpeg.open("ab") as file:
        file.write(b"\0")
    names = [Path(of).name for of in watch.changed()]
    assert names == ["sheet.jgw", "sheet.jpg"] or names == ["sheet.jpg", "sheet.jgw"]


def test_a_mosaic_of_itself_ends(config):
    raw = raw_of(config)
    first, second = raw / "a.vrt", raw / "b.vrt"
    mosaic(first, raw / "imagery.tif")
    mosaic(second, first)
    mosaic(first, raw / "imagery.tif", second)
    config.imagery.paths = (str(second),)
    assert {path.name for path in found_in(config).values()} >= {"a.vrt", "b.vrt"}


def test_parts_of_shapefiles_and_all_below_a_folder_count(config):
    raw = raw_of(config)
    small_city.zone_table().to_file(raw / "zones.shp")
    config.labels.zones.path = str(raw / "zones.shp")
    watch = Watch(config)
    names = {Path(of).suffix for of in found_in(config) if "zones" in of}
    assert names >= {".shp", ".dbf", ".shx", ".prj", ".cpg"}
    (raw / "zones.cpg").write_text("GB18030")
    assert watch.changed() == ["labels.zones.path/zones.cpg"]
    parts = raw / "parts" / "theme=places"
    parts.mkdir(parents=True)
    shutil.move(config.pois.path, parts / "0.parquet")
    config.pois.path = str(raw / "parts")
    watch = Watch(config)
    small_city.poi_table().iloc[:3].to_parquet(parts / "0.parquet")
    assert watch.changed() == ["pois.path/parts"]


def test_an_edit_that_still_lies_in_the_log_of_a_database_counts(config, caplog):
    """A GeoPackage open in a GIS: the file itself is the same."""
    raw = raw_of(config)
    small_city.poi_table().to_file(raw / "pois.gpkg")
    config.pois.path = str(raw / "pois.gpkg")
    with sqlite3.connect(raw / "pois.gpkg") as database:
        database.execute("pragma journal_mode=wal")
    database.close()
    folder = build.ensure(config)
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "again" not in caplog.text
    before = (raw / "pois.gpkg").read_bytes()
    open_one = sqlite3.connect(raw / "pois.gpkg", isolation_level=None)
    open_one.execute("pragma wal_autocheckpoint=0")
    open_one.create_function("ST_IsEmpty", 1, lambda _: 0)
    for name in ("ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
        open_one.create_function(name, 1, lambda _: 0.0)
    open_one.execute("update pois set category='casino' where category='cafe'")
    assert (raw / "pois.gpkg").read_bytes() == before
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    open_one.close()
    assert "made from other sources (pois.path/pois.gpkg-wal); building" in caplog.text
    categories = schema.Manifest.load(folder).categories
    assert categories == ("casino", "park", "school")


def test_a_corrected_world_file_moves_the_tiles(config, caplog):
    """The right value, not only a build: the tiles lie two regions further east."""
    path = as_jpeg(config)
    folder = build.ensure(config)
    path.with_suffix(".jgw").write_text(
        f"2.0\n0\n0\n-2.0\n{small_city.WEST_M + 65}\n{small_city.NORTH_M - 1}\n"
    )
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "other sources (imagery.paths[0]/imagery.jgw); building again" in caplog.text
    manifest = schema.Manifest.load(folder)
    examples = ArrayRecordDataSource(list(map(str, manifest.shard_paths(folder))))
    west = [
        shapely.from_wkb(
            record_format.deserialize(examples[i], manifest.layout, image=False)[
                "geometry"
            ]
        ).bounds[0]
        for i in range(len(examples))
    ]
    assert min(west) == small_city.WEST_M + 64


def test_a_city_that_was_moved_is_the_same_city(config, tmp_path, monkeypatch, caplog):
    build.ensure(config)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("raw", "records"):
        shutil.move(tmp_path / name, moved / name)
    there = small_city.describe(str(moved / "raw"))
    with caplog.at_level(logging.INFO):
        folder = build.ensure(there)
    assert "again" not in caplog.text and folder == moved / "records"
    told = schema.Manifest.load(folder).sources["pois.path/pois.parquet"]
    assert told["path"] == "../raw/pois.parquet"
    shutil.rmtree(moved / "raw")
    with caplog.at_level(logging.INFO):
        build.ensure(there)
    assert (
        "the sources are not here, so the records are used as they are" in caplog.text
    )


def test_a_source_of_another_name_is_another_setting(config):
    build.ensure(config)
    config.pois.path = str(raw_of(config) / "typed_wrong.parquet")
    with pytest.raises(InputError, match="no such file"):
        build.ensure(config)


def test_an_edit_with_the_size_and_time_put_back_is_seen(config, caplog):
    build.ensure(config)
    path = raw_of(config) / "people.tif"
    status, size = path.stat(), path.stat().st_size
    with rasterio.open(path, "r+") as people:
        people.write(people.read() + 1)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, status.st_mtime_ns)
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "made from other sources (labels.people.path/people.tif)" in caplog.text


def test_a_source_that_changes_while_it_is_read_is_told(config, monkeypatch):
    whole = writer.write

    def write(folder, **given):
        small_city.poi_table().iloc[:3].to_parquet(config.pois.path)
        return whole(folder, **given)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write", write)
        with pytest.raises(InputError, match="pois.parquet: changed while the records"):
            build.build(config)
    assert not Path(config.records.dir).exists()
    manifest = schema.Manifest.load(build.build(config))
    assert manifest.report["POIs dropped"] is not None and manifest.max_pois == 3


def test_a_generated_city_that_was_edited_is_seen(config, monkeypatch, caplog):
    from data_prep.toy_city import generator

    config.toy_city = dict(out_dir=str(raw_of(config)), seed=3)
    note = generated.note(settings_lib.read(config).toy_city)
    (raw_of(config) / "generated.json").write_text(note)
    monkeypatch.setattr(generator, "generate", None)
    build.ensure(config)
    small_city.poi_table().iloc[:3].to_parquet(config.pois.path)
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "made from other sources (pois.path/pois.parquet)" in caplog.text


def test_records_of_before_are_kept_until_something_changes(config, caplog):
    folder = build.ensure(config)
    path = folder / schema.MANIFEST_FILE
    fields = json.loads(path.read_text())
    named = {
        str(raw_of(config) / source["path"].rpartition("/")[2]): source
        for source in fields["sources"].values()
    }
    for name, source in named.items():
        source["modified_ns"] = Path(name).stat().st_mtime_ns
        del source["path"]
    fields["sources"] = named
    del fields["content"], fields["inputs_sha256"]
    path.write_text(json.dumps(fields))
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "again" not in caplog.text
    RecordSource(folder)
    beside = raw_of(config) / "imagery.tfw"
    beside.write_text("older than the records")
    os.utime(beside, (1, 1))
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "again" not in caplog.text
    beside.write_text("younger")
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert "made from other sources" in caplog.text
    assert schema.Manifest.load(folder).inputs_sha256


def test_records_that_somebody_edited_are_not_trained_on(config):
    folder = build.ensure(config)
    splits = folder / schema.SPLITS_FILE
    splits.write_text(splits.read_text().replace(",0", ",1"))
    with pytest.raises(InputError, match="splits.csv: other bytes than were written"):
        build.ensure(config)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, np.zeros((3, 64), np.float32))
    faults = schema.Manifest.load(folder).faults(folder, whole=True)
    assert [Path(of.split(":")[0]).name for of in faults] == [
        schema.CATEGORY_VECTORS_FILE,
        schema.SPLITS_FILE,
    ]


def test_side_files_are_told_from_files(config):
    names = ("a.jgw", "a.tif.aux.xml", "a.ovr", "a.dbf", "a.gpkg-wal", "a_rpc.txt")
    assert all(side_files.is_side(Path(name)) for name in names)
    assert not any(map(side_files.is_side, map(Path, ("a.tif", "a.gpkg", "a.csv"))))
