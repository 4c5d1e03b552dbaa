"""Only what the docs name is opened, nothing of the network, nothing elsewhere."""

import gzip
import json
import os
import socket
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import small_city
import small_regions

from data_prep.files import formats, mosaics, table_formats, tables
from data_prep.imagery import check as imagery_checks
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from data_prep.regions.cutting import cut
from mmgr_jax.errors import InputError

WEST, NORTH, GSD = small_city.WEST_M, small_city.NORTH_M, small_city.GSD_M


def _vrt(path, source, *, band="", kind="", relative=0):
    path.write_text(
        f'<VRTDataset rasterXSize="64" rasterYSize="48" {kind}>'
        f"<SRS>{small_city.CRS}</SRS>"
        f"<GeoTransform>{WEST}, {GSD}, 0, {NORTH}, 0, -{GSD}</GeoTransform>"
        + "".join(
            f'<VRTRasterBand dataType="Byte" band="{number}" {band}><SimpleSource>'
            f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
            f"<SourceBand>{number}</SourceBand></SimpleSource></VRTRasterBand>"
            for number in (1, 2, 3)
        )
        + "</VRTDataset>"
    )
    return path


def _problems(path, **settings):
    return imagery_checks.problems(ImagerySettings((str(path),), **settings))


@pytest.mark.parametrize(
    "driver", ["GTiff", "COG", "PNG", "JPEG", "JP2OpenJPEG", "HFA"]
)
def test_formats_are_told_by_their_first_bytes(tmp_path, driver):
    plain = small_city.write_raster(tmp_path / "plain.tif", small_city.pixels())
    odd = tmp_path / "no_ending"
    with rasterio.open(plain) as source:
        rasterio.shutil.copy(source, odd, driver=driver)
    opened = "GTiff" if driver == "COG" else driver
    assert formats.check_raster(odd) == opened
    with formats.settings(), formats.open_raster(odd) as source:
        assert source.driver == opened and source.width == 64


def test_an_ascii_grid_is_read(tmp_path):
    path = tmp_path / "people.asc"
    path.write_text("ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 5\n1 2\n3 4")
    with formats.settings(), formats.open_raster(path) as source:
        assert source.read(1).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "content",
    [
        b"<GDAL_WMS><Service name='TMS'/></GDAL_WMS>",
        b'{"type": "FeatureCollection", "stac_version": "1.0.0"}',
        b"SQLite format 3\0",
        b"GRIB",
        b"%PDF-1.4",
        b"\0" * 100,
        b"",
    ],
)
def test_other_formats_are_not_opened(tmp_path, content):
    path = tmp_path / "city.tif"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"city.tif: .*not recognized as GeoTIFF .*VRT"
    ):
        formats.check_raster(path)


def test_members_lie_in_the_folders_of_the_config(tmp_path):
    (tmp_path / "mosaics").mkdir()
    (tmp_path / "sheets").mkdir()
    sheet = small_city.write_raster(tmp_path / "sheets/a.tif", small_city.pixels())
    mosaic = _vrt(tmp_path / "mosaics/city.vrt", sheet)
    (problem,) = _problems(mosaic)
    assert "names " + str(sheet) in problem and "config.imagery.folders" in problem
    assert not _problems(mosaic, folders=(str(tmp_path / "sheets"),))
    both = (str(tmp_path / "sheets" / "*.tif"), str(mosaic))
    assert not imagery_checks.problems(ImagerySettings(both))
    # A way through a folder of the config and out again lies elsewhere.
    _vrt(mosaic, "../sheets/a.tif", relative=1)
    assert "which lies in none" in _problems(mosaic)[0]
    # A link is its owner's word.
    (tmp_path / "mosaics/link.tif").symlink_to(sheet)
    assert not _problems(_vrt(mosaic, "link.tif", relative=1))


def test_what_is_missing_in_a_mosaic_of_mosaics_is_named(tmp_path):
    inner = _vrt(tmp_path / "inner.vrt", "gone.tif", relative=1)
    outer = _vrt(tmp_path / "outer.vrt", "inner.vrt", relative=1)
    (problem,) = _problems(outer)
    assert problem.startswith(f"{outer}: names {tmp_path / 'gone.tif'}, which is not")
    _vrt(inner, "outer.vrt", relative=1)
    assert "names itself" in _problems(outer)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(band='subClass="VRTRawRasterBand"'), "a band of the kind 'VRTRawRaster"),
        (dict(kind='subClass="VRTProcessedDataset"'), "of the kind 'VRTProcessedData"),
        (dict(source="/vsicurl/http://127.0.0.1:1/a.tif"), "in none of the folders"),
        (dict(source="http://127.0.0.1:1/a.tif"), "lies in none of the folders"),
        (dict(source="/etc/passwd"), "which lies in none of the folders"),
        (dict(source="NETCDF:a.nc:GDP", relative=1), "GDP, which is not there"),
    ],
)
def test_mosaics_that_read_more_than_images_are_refused(tmp_path, settings, message):
    given = dict(source="a.tif") | settings
    small_city.write_raster(tmp_path / "a.tif", small_city.pixels())
    (problem,) = _problems(_vrt(tmp_path / "city.vrt", **given))
    assert message in problem


def test_a_member_of_another_format_is_not_opened(tmp_path):
    (tmp_path / "a.tif").write_text("<GDAL_WMS/>")
    (problem,) = _problems(_vrt(tmp_path / "city.vrt", "a.tif", relative=1))
    assert "a.tif: cannot be read (it, which " in problem


def test_programs_and_entities_in_mosaics_are_refused(tmp_path):
    path = tmp_path / "city.vrt"
    band = '<VRTRasterBand subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>'
    path.write_text(f"<VRTDataset>{band}Python</PixelFunctionLanguage></VRTRasterBand>")
    with pytest.raises(InputError, match="not a complete VRT mosaic .*gdalbuildvrt"):
        mosaics.members(path)
    path.write_text(path.read_text() + "</VRTDataset>")
    with pytest.raises(InputError, match="a program in Python"):
        mosaics.members(path)
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><VRTDataset>&b;</VRTDataset>')
    with pytest.raises(InputError, match="declares entities"):
        mosaics.members(path)


def test_side_files_name_nothing_elsewhere(tmp_path):
    path = small_city.write_raster(tmp_path / "a.tif", small_city.pixels())
    side = tmp_path / "a.tif.aux.xml"
    item = '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
    side.write_text(
        f"{item}/vsicurl/http://127.0.0.1:1/o</MDI></Metadata></PAMDataset>"
    )
    assert "which lies in none of the folders" in _problems(path)[0]
    side.write_text(side.read_text().replace("_FILE", "&#95;FILE"))
    assert "which lies in none of the folders" in _problems(path)[0]
    side.write_text("<PAMDataset><PAMRasterBand band='1'/></PAMDataset>")
    assert not _problems(path)
    (tmp_path / "a.tif.msk").write_text("<OGRVRTDataSource/>")
    assert "a.tif.msk: cannot be read (it, which " in _problems(path)[0]


_LOUD = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path(sys.argv[2]).open("a").write(self.path + "\\n")
        self.send_error(404)
    do_HEAD = do_GET
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# What a file says is checked before; here GDAL is let loose on it.
_ASK = """
import sys, warnings; warnings.simplefilter("ignore")
if sys.argv[3] == "shut":
    from data_prep.files import formats
import pyogrio, rasterio
for opener, path in ((rasterio.open, sys.argv[1]), (pyogrio.read_info, sys.argv[2])):
    try:
        found = opener(path)
        if opener is rasterio.open: found.read()
    except Exception: pass
"""


def test_gdal_has_no_way_to_the_network(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = tmp_path / "asked"
    asked.touch()
    server = subprocess.Popen([sys.executable, "-c", _LOUD, str(port), str(asked)])
    try:
        address = f"http://127.0.0.1:{port}/x"
        raster = _vrt(tmp_path / "a.vrt", f"/vsicurl/{address}.tif")
        table = tmp_path / "a.geojson"
        crs = {"type": "link", "properties": {"href": address}}
        table.write_text(json.dumps(_feature() | {"crs": crs}))
        # Importing `formats` shut the ways of this process, and of those it starts.
        plain = {
            k: v for k, v in os.environ.items() if not k.startswith(("GDAL", "CPL"))
        }
        counts = {}
        for way in ("open", "shut"):
            while True:
                with socket.socket() as listening:
                    if not listening.connect_ex(("127.0.0.1", port)):
                        break
            arguments = [str(raster), str(table), way]
            command = [sys.executable, "-c", _ASK, *arguments]
            subprocess.run(command, check=True, env=plain)
            counts[way] = len(asked.read_text().splitlines())
        assert counts["open"] >= 2 and counts["shut"] == counts["open"]
    finally:
        server.kill()
        server.wait()
    with pytest.raises(InputError, match="a.geojson: .*web addresses"):
        tables.header(table)


def _feature():
    place = {"type": "Point", "coordinates": [1, 2]}
    row = {"type": "Feature", "properties": {"category": "a"}, "geometry": place}
    return {"type": "FeatureCollection", "features": [row]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            '{"type": "gdal_streamed_alg", "command_line": "x"}',
            "links in files are not followed",
        ),
        ("a.gpkg", "<OGRVRTDataSource/>", "links in files are not followed"),
        ("a.geojson", "<gml:FeatureCollection/>", "links in files are not followed"),
        ("a.gpkg", "nothing of the sort", "not recognized as GeoPackage"),
    ],
)
def test_tables_that_name_other_files_are_not_opened(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        tables.layers(path)
        tables.header(path)


def test_archives_have_a_bound(tmp_path, monkeypatch):
    small_city.zone_table().to_file(tmp_path / "zones.shp")
    path = tmp_path / "zones.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in tmp_path.glob("zones.*"):
            if part.suffix != ".zip":
                archive.write(part, part.name)
    table_formats.check_table(path)
    monkeypatch.setattr(table_formats, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(InputError, match="zones.zip: unpacks to more than"):
        tables.layers(path)
    monkeypatch.undo()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.kml", "<kml/>")
        archive.writestr("b.kml", "<kml/>")
    with pytest.raises(InputError, match="zones.zip: an archive must hold a Shapefile"):
        tables.layers(path)


def test_a_packed_csv_is_measured_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "pois.csv.gz"
    path.write_bytes(gzip.compress(b"category,lon,lat\n" + b"a,1,2\n" * 1000))
    assert tables.header(path).columns == ("category", "lon", "lat")
    monkeypatch.setattr(table_formats, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InputError, match="pois.csv.gz: unpacks to more than"):
        tables.header(path)


def test_a_block_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = small_city.write_raster(
        tmp_path / "a.tif", small_city.pixels(), compress="deflate", interleave="pixel"
    )
    assert not _problems(path)
    monkeypatch.setattr(formats, "MAX_BLOCK_BYTES", 1000)
    assert "in blocks of" in _problems(path)[0]


def test_a_size_declared_without_bounds_is_refused_before_pixels(tmp_path):
    """A hundred bytes that declare a million tiles a side."""
    path = tmp_path / "a.vrt"
    small_city.write_raster(tmp_path / "b.tif", small_city.pixels())
    _vrt(path, "b.tif", relative=1)
    path.write_text(path.read_text().replace('Size="64"', 'Size="20000000"'))
    path.write_text(path.read_text().replace('Size="48"', 'Size="20000000"'))
    section = small_regions.settings(tile_size_px=16, gsd_m=GSD)
    files = ImagerySettings((str(path),))
    with Imagery(files, crs=small_city.CRS, gsd_m=GSD) as imagery:
        with pytest.raises(InputError, match=r"a.vrt: declares 1,562,500,000,000"):
            cut(imagery, small_city.CRS, section)


def _netcdf(path, names):
    netcdf_file = pytest.importorskip("scipy.io").netcdf_file
    with netcdf_file(str(path), "w") as target:
        for name, values in (("lon", [0.5, 1.5]), ("lat", [1.5, 0.5])):
            target.createDimension(name, 2)
            target.createVariable(name, "d", (name,))[:] = values
        for name in names:
            target.createVariable(name, "f", ("lat", "lon"))[:] = np.ones((2, 2))


@pytest.mark.parametrize("names", [("GDP", "HDI"), ("GDP",)])
def test_a_container_is_told_by_its_variables(tmp_path, names):
    path = tmp_path / "gdp.nc"
    _netcdf(path, names)
    wanted = textwrap.dedent(f"""\
        variables: {", ".join(names)}. Extract one: `gdal_translate NETCDF:{path}:GDP
         -a_srs EPSG:4326 {tmp_path / "gdp.tif"}`""").replace("\n", "")
    with pytest.raises(InputError) as raised:
        formats.check_raster(path)
    assert wanted in str(raised.value)


def test_a_file_of_several_images_is_told(tmp_path):
    path = small_city.write_raster(tmp_path / "pages.tif", small_city.pixels())
    second = small_city.write_raster(tmp_path / "second.tif", small_city.pixels())
    rasterio.shutil.copy(second, path, driver="GTiff", APPEND_SUBDATASET="YES")
    assert "holds 2 images, of which only the first" in _problems(path)[0]
