"""Every broken input ends in one message, and nothing that was there is lost."""

import re

import numpy as np
import pytest
import rasterio
import shapely
import small_city
from affine import Affine
from broken_city import INFINITE, box, cut_short
from rasterio.transform import from_origin

from data_prep import build
from mmgr_jax.errors import InputError

BAD = []


def bad(message):
    """Registers a function that breaks a city, with what is said of it."""
    return lambda damage: BAD.append((damage, message)) or damage


# ---- imagery ----


@bad(r"imagery.tif: cannot be read .*truncated or damaged: check it with `gdalinfo")
def tiff_cut_short(city):
    cut_short(city.raw / "imagery.tif")


@bad(r"imagery.tif: cannot be read .*not recognized.*fetch it again")
def tiff_of_no_byte(city):
    (city.raw / "imagery.tif").write_bytes(b"")


@bad(r"imagery.tif: cannot be read .*not recognized.*fetch it again")
def tiff_that_is_text(city):
    (city.raw / "imagery.tif").write_text("<html>404 Not Found</html>")


@bad(r"imagery.tif: has no CRS.*rio edit-info --crs EPSG:\.\.\. .*imagery.tif`")
def tiff_without_crs(city):
    city.imagery(crs=None)


@bad(r"people.tif does not overlap .*123.0000 .*the imagery 117.0000 .* zone 51N'")
def tiff_of_another_zone(city):
    city.imagery(crs="EPSG:32650")


@bad(r"imagery.tif: its corner is at \(123, 31.2\).*in degrees, but says 'WGS 84 / U")
def tiff_of_degrees_called_metres(city):
    city.imagery(transform=from_origin(123.0, 31.2, 1e-5, 1e-5))


@bad(r"imagery.tif: has a CRS but no position.*`gdalwarp IN OUT`")
def tiff_without_position(city):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        city.imagery(transform=Affine.identity())


@bad(r"none of the 12 cells .*95% of its pixels \(best: 0%\). Lower min_coverage")
def imagery_of_nodata(city):
    city.imagery(np.zeros_like(small_city.pixels()), nodata=0)


@bad(r"one colour fills more than 99% of each. Check config.imagery.bands")
def imagery_of_one_colour(city):
    city.imagery(np.full_like(small_city.pixels(), 7))


@bad(r"stretch is .*imagery.tif, holds no pixel. Check the files and config.imagery")
def imagery_of_nan(city):
    city.imagery(np.full(small_city.pixels().shape, np.nan, np.float32))
    city.config.imagery.stretch = ("percentile", 2, 98)


@bad(r"config.imagery.paths '.*tiles/\*.tif': no such file. Wanted: an 8-bit GeoTIFF")
def pattern_without_match(city):
    city.config.imagery.paths = (str(city.raw / "tiles" / "*.tif"),)


@bad(r"raw: is a folder, not an image. Name the files in it, such as '.*/raw/\*.tif'")
def imagery_a_folder(city):
    city.config.imagery.paths = (str(city.raw),)


@bad(r'pixels are uint16, 8-bit .*holds 0 to 5100. .*imagery.stretch=\("linear", ')
def imagery_of_16_bit(city):
    city.imagery(small_city.pixels().astype(np.uint16) * 20)


@bad(r"has 1 band\(s\), config.imagery.bands asks for \[2, 3\]; .*say bands=\(1, 1, 1")
def imagery_of_one_band(city):
    city.imagery(small_city.pixels()[:1])


@bad(r"imagery.tif: band 1 holds numbers of a palette.*gdal_translate -expand rgb")
def imagery_of_a_palette(city):
    path = city.imagery(small_city.pixels()[:1], photometric="palette")
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {1: (9, 8, 7, 255)})
    city.config.imagery.bands = (1, 1, 1)


@bad(r"imagery.tif: cannot be read at columns 0 to 16, rows 16 to 32 .*truncated")
def tiff_damaged_within(city):
    path = city.imagery(compress="deflate", interleave="pixel", blockysize=8)
    with rasterio.open(path) as source:
        offset = int(source.get_tag_item("BLOCK_OFFSET_0_3", "TIFF", bidx=1))
    content = path.read_bytes()
    path.write_bytes(content[:offset] + bytes(200) + content[offset + 200 :])


# ---- points of interest ----


@bad(r"config.pois.path '.*pois.parquet': no such file. Wanted: .* 'category', 'paren")
def pois_missing(city):
    (city.raw / "pois.parquet").unlink()


@bad(r"config.pois.path '.*raw' is a folder; name the one file .*pois.parquet")
def pois_a_folder(city):
    city.pois.path = str(city.raw)


@bad(r"pois.csv: is empty. Wanted: GeoParquet")
def pois_empty(city):
    city.csv("")


@bad(r"no usable POI among its 0 rows \(the file ends after its header\). Check")
def pois_of_no_row(city):
    city.csv("category,parent,lon,lat\n")


@bad(r"pois.parquet: holds no row. Wanted: one POI in each row")
def pois_of_no_row_in_parquet(city):
    small_city.poi_table().iloc[:0].to_parquet(city.pois.path)


@bad(r"row 1 .*\(31.184, 123\), far from .* 100% .* swapped. Set config.pois.x_column")
def axes_swapped(city):
    city.csv()
    city.pois.update(x_column="lat", y_column="lon")


@bad(r"row 1 .*\(123, 31.184\).* look like degrees, .* config.pois.crs='EPSG:4326'")
def degrees_as_metres(city):
    city.csv()
    city.pois.crs = small_city.CRS


@bad(r"row 1 .*\(500008, 3.4.*are no degrees.* config.pois.crs='EPSG:32651'")
def metres_as_degrees(city):
    table = small_city.poi_table(small_city.CRS).geometry
    city.csv(lon=table.x, lat=table.y)


@bad(r"no usable POI among its 9 rows \(9 invalid coordinates\). Check config.pois")
def coordinates_not_finite(city):
    city.csv(lon=[np.nan, np.inf, -np.inf] * 3)


@bad(r"none of 9 POIs lies in a region. POIs: x 538113 to .*regions: x 500000.*Check")
def pois_of_another_town(city):
    city.csv(lon=[123.4] * 9)


@bad(r"pois.csv: byte 24 .*in line 2\) is not in UTF-8. Declare .*'gb18030'")
def pois_in_gbk(city):
    city.csv("category,parent,lon,lat\n公园,绿地,123.0,31.0\n".encode("gb18030"))


@bad(r"'lon' holds numbers with a decimal comma, such as '123,0' in row 1. Set config")
def pois_of_decimal_commas(city):
    city.csv('category,parent,lon,lat\ncafe,food,"123,0","31,0"\n')


@bad(r"pois.csv: column 'category' occurs more than once; rename")
def pois_of_a_column_twice(city):
    city.csv("category,parent,lon,lat,category\ncafe,food,123.0,31.0,bar\n")


@bad(r"pois.csv: names no CRS, so config.pois.crs must, such as 'EPSG:4326'")
def pois_without_crs(city):
    city.csv()
    city.pois.crs = None


@bad(r"no geometries, so config.pois.x_column and y_column must name .*'lon', 'lat'")
def pois_without_coordinates(city):
    city.csv()
    city.pois.update(x_column=None, y_column=None)


@bad(r"pois.parquet: cannot be read \(Parquet magic bytes.*Wanted: GeoParquet")
def parquet_corrupt(city):
    cut_short(city.raw / "pois.parquet", 0.9)


@bad(r"pois.gpkg: cannot be read .*malformed.*Wanted: GeoParquet, GeoPackage")
def geopackage_corrupt(city):
    city.pois.path = str(city.raw / "pois.gpkg")
    small_city.poi_table().to_file(city.pois.path)
    cut_short(city.pois.path, 0.03)


@bad(r"has 2 layers; config.pois.layer must name one of 'shops', 'parks'")
def geopackage_of_layers(city):
    city.pois.path = str(city.raw / "pois.gpkg")
    for layer in ("shops", "parks"):
        small_city.poi_table().to_file(city.pois.path, layer=layer)


@bad(r"no usable POI among its 9 rows \(9 unknown category\). Check")
def category_list_of_others(city):
    city.pois.categories.path = str(city.raw / "list.csv")
    (city.raw / "list.csv").write_text("category\nhotel\nbar\n")


@bad(r"list.csv: has no column 'category'; its columns: name.*categories.path")
def category_list_of_other_columns(city):
    (city.raw / "list.csv").write_text("name\ncafe\n")
    city.pois.categories.path = str(city.raw / "list.csv")


@bad(r"vectors.csv: has no row for 1 of 3 categories: 'school'. Add them, or merge")
def vectors_lacking_a_category(city):
    path = city.raw / "vectors.csv"
    path.write_text("category,u,v\ncafe,1,2\npark,3,4\n")
    city.config.category_vectors.method = "table"
    city.config.category_vectors.table.path = str(path)


# ---- labels ----


@bad(r"labels.people.path '.*people.tif': no such file. Wanted: a GeoTIFF .*persons")
def label_missing(city):
    (city.raw / "people.tif").unlink()


@bad(r"labels.people.path '.*raw': is a folder. Wanted: a GeoTIFF")
def label_a_folder(city):
    city.labels.people.path = str(city.raw)


@bad(r"labels.people.bands is unknown \(did you mean 'band'\?\); allowed there: kind")
def label_setting_unknown(city):
    with city.config.unlocked():
        city.labels.people.bands = 1


@bad(r"people.tif does not overlap the imagery. It covers 117.00.* the CRS that it nam")
def label_raster_elsewhere(city):
    city.people(1, crs="EPSG:32650")


@bad(r"people.tif covers at most 0% .* its nodata value is right, or lower min_known")
def label_raster_of_nodata(city):
    city.people(-9999, nodata=-9999)


@bad(
    r"people.tif, band 1, holds infinite numbers. Replace them by a number "
    r".*gdal_calc"
)
def label_raster_infinite(city):
    city.people([[1, 1, 1, np.inf]])


@bad(r"people.tif: has no CRS.*rio edit-info --crs")
def label_raster_without_crs(city):
    city.people(1, crs=None)


@bad(r"people.tif: cannot be read .*not recognized")
def label_raster_of_text(city):
    (city.raw / "people.tif").write_text("ncols 4")


@bad(r"labels.people: .*band 1, holds the count -99; .*rio edit-info --nodata -99")
def count_below_zero(city):
    city.people(-99)


@bad(r"'zone' holds 1 class\(es\) unknown .*'car park' \(1\). Allowed: forest, resid")
def zones_of_an_unknown_class(city):
    city.zones(zone=["forest", "car park"])


@bad(r"zones.parquet: holds 'Point'. Wanted: polygons")
def zones_of_points(city):
    city.zones([box(0, 0).centroid])


@bad(r"zones.parquet: has no CRS")
def zones_without_crs(city):
    city.zones(crs=None)


@pytest.mark.parametrize("rows", [0, 2])
def test_zones_without_any_polygon_are_explained(city, rows):
    city.zones([None] * rows)
    message = r"zones.parquet: no row has a geometry. Wanted: polygons with column 'zon"
    _is_refused(city, message)


@bad(r"zones.parquet does not overlap .*It is in degrees, but says 'WGS 84 / UTM zon")
def zones_of_degrees_called_metres(city):
    city.zones([shapely.box(123.0, 31.0, 123.1, 31.1)])


@bad(r"zones.parquet: 1 row\(s\) have coordinates that are not finite: row 2. Correct")
def zones_infinite(city):
    city.zones([box(0, 0), INFINITE])


@bad(r"'zone', holds 'inf' \(1\), 'many' \(1\), which is no number. Leave the cell emp")
def zones_counted_in_words(city):
    city.count_zones(["inf", "many"])


@bad(r"'zone', holds the count -5; counts are 0 or more. Leave the cell empty")
def zones_counted_below_zero(city):
    city.count_zones([5.0, -5.0])


@bad(r"zones.gpkg: cannot be read .*malformed")
def zones_corrupt(city):
    cut_short(city.raw / "zones.gpkg", 0.03)


@bad(r"labels.zones: .*has 2 layers; save one of 'zones', 'more' .*ogr2ogr")
def zones_of_layers(city):
    small_city.zone_table().to_file(city.raw / "zones.gpkg", layer="more")


@bad(r"no id in column 'id' .*table.csv is that of a region. .*'r99'. Wanted: the ids")
def table_of_other_regions(city):
    city.by_region("id,n\nr99,5\n")


@bad(r"table.csv has several rows for 1 region\(s\): 'r0000c0000'. Keep one row")
def table_of_a_region_twice(city):
    city.by_region("id,n\nr0000c0000,5\nr0000c0000,6\n")


@bad(r"table.csv: has no column 'n', which config.labels.table names; .*'people'")
def table_without_its_column(city):
    city.by_region("id,people\nr0000c0000,5\n")


@bad(r"column 'n', region r0000c0000: 'inf' is no number. Leave the cell empty")
def table_of_infinity(city):
    city.by_region("id,n\nr0000c0000,inf\n")


@bad(r"table.csv, column 'n', holds the count -5; counts are 0 or more. Leave the cell")
def table_below_zero(city):
    city.by_region("id,n\nr0000c0000,-5\n")


@bad(r"1. config.labels.table: .*table.csv: is empty; wanted: a line of column names")
def table_empty(city):
    city.by_region("")


@bad(r"table.csv: byte 5 .* is not in UTF-8. Declare .*table.encoding; .*'gb18030'")
def table_in_gbk(city):
    city.by_region("id,n\n外滩,5\n".encode("gb18030"))


@bad(r"'id;n', is one column when split at ','. Set config.labels.table.sep")
def table_of_semicolons(city):
    city.by_region("id;n\nr0000c0000;5\n")


@bad(r"shares of 1 region\(s\) .*sum to more than one, .*100. Wanted: parts of 1")
def table_of_percent(city):
    share = dict(kind="share", unit="1", column=None, classes=("forest", "water"))
    city.by_region("id,forest,water\nr0000c0000,60,40\n", **share)


# ---- regions ----


@bad(r"config.regions.polygons.path None: no such file. Wanted: polygons")
def regions_without_a_file(city):
    city.regions.kind = "polygons"


@bad(r"'zone', .* holds 1 id\(s\) more than once: 'a' \(row 1, 2\). Ids must be unique")
def regions_of_one_id(city):
    city.outlines([box(0, 0), box(1, 1)], zone=["a", "a"])
    city.regions.polygons.id_column = "zone"


@bad(r"regions.parquet: no row has a geometry. Wanted: one polygon in each row")
def regions_of_no_row(city):
    city.outlines([])


@bad(r"none of its 1 polygons meets the imagery. .*x 501600 .*Check config.regions.pol")
def regions_outside_the_imagery(city):
    city.outlines([box(50, 50)])


@bad(r"regions.parquet: has no CRS")
def regions_without_crs(city):
    city.outlines([box(0, 0)], crs=None)


@bad(r"1 row\(s\) hold 'Point': row 2. Wanted: polygons")
def regions_of_points(city):
    city.outlines([box(0, 0), box(0, 0).centroid])


@bad(r"1 row\(s\) have coordinates that are not finite: row 2. Correct or delete")
def regions_infinite(city):
    city.outlines([box(0, 0), INFINITE])


@bad(r"has 2 layers; config.regions.polygons.layer must name one of 'a', 'b'")
def regions_of_layers(city):
    city.regions.kind = "polygons"
    city.regions.polygons.path = str(city.raw / "regions.gpkg")
    for layer in "ab":
        small_city.zone_table().to_file(city.regions.polygons.path, layer=layer)


@bad(r"1 of 1 polygons do not fit in .* = 32 m: '\w+' \(64 m\). Take tile_size_px of a")
def regions_larger_than_the_tile(city):
    city.outlines([box(0, 0, 2)])


@bad(r"h3.resolution is 10: .*130.3 m across .* = 32 m. Take tile_size_px of at least")
def cells_larger_than_the_tile(city):
    city.regions.kind = "h3"


@bad(r"1 of 3 are not: .*chip2.tif \(24.0 by 24.0 m\).* need kind 'grid'")
def chips_of_unequal_size(city):
    for index, size in enumerate((16, 16, 12)):
        place = from_origin(*small_city.place_m(index, 0), 2, 2)
        pixels = small_city.pixels()[:, :size, :size]
        city.imagery(pixels, f"chip{index}.tif", transform=place)
    city.config.imagery.paths = (str(city.raw / "chip*.tif"),)
    city.regions.kind = "chips"


# ---- settings ----

SETTINGS = [
    ("city.crs", "EPSG:4326", r"in units of degree: .*such as 'EPSG:32651'"),
    ("city.crs", "EPSG:1", r"CRS 'EPSG:1' is unknown. Give a code such as"),
    ("city.crs", "EPSG:3857", r"areas 1.366 times .*use a CRS .* 'EPSG:32651'"),
    ("city.name", "small/city", r"is 'small/city'; allowed: letters, digits and"),
    ("city.name", "", r"is ''; allowed: letters, digits and"),
    ("imagery.paths", (), r"is empty. Wanted: GeoTIFF files"),
    ("imagery.bands", (1, 2), r"bands \(1, 2\): three band numbers are needed"),
    ("imagery.bands", (1, 2, 4), r"has 3 band\(s\), .*for \[4\]; allowed: 1 to 3"),
    ("imagery.nodata", np.nan, r"=nan; allowed: a finite number or None"),
    ("imagery.stretch", ("linear", 9, 3), r"\('linear', 9, 3\); allowed: .*LOW below"),
    ("pois.datum", "GCJ02", r"='GCJ02'; allowed: 'wgs84', 'gcj02' or 'bd09'"),
    ("pois.crs", "EPSG:0", r"CRS 'EPSG:0' is unknown. Give a code"),
    ("pois.crs", "EPSG:32651", r"but .*pois.parquet is in 'WGS 84'. Declare"),
    ("pois.format", "Overture", r"='Overture'; allowed: 'overture', 'osm' or 't"),
    ("pois.decimal", ";", r"=';'; allowed: '.' or ','"),
    ("pois.encoding", "GBKK", r"is 'GBKK', .*allowed: a name such as 'utf-8'"),
    ("pois.category_column", "Categorie", r"Perhaps 'category' for 'Categorie'\?"),
    ("pois.parent_column", "first", r"has no column 'first', .*its columns: 'poi_id'"),
    ("pois.categories.unknown", "bar", r"unknown is 'bar', but there is no list"),
    ("pois.categories.path", "list.csv", r"'list.csv': no such file. Wanted: a CSV"),
    (
        "labels.people.kind",
        "sum",
        r"='sum'; allowed: 'count', 'density', 'share', 'class' or 'scalar'",
    ),
    ("labels.people.unit", "persons/km2", r"'persons/km2' is per area. Say kind="),
    ("labels.people.kind", "density", r"'persons' names no area. Wanted: a unit"),
    ("labels.people.band", 2, r"is 2; .*people.tif has 1 band\(s\); allowed: 1 to 1"),
    ("labels.people.nodata", "nan", r"='nan'; allowed: 'unknown' or 'zero'"),
    ("labels.zones.column", "ZONE", r"has no column 'ZONE', .*its columns: 'zone'"),
    ("labels.zones.uncovered", "class:sea", r"'class:sea'; allowed: 'ignore' or"),
    ("regions.kind", "hexagon", r"='hexagon'; allowed: 'grid', 'h3', 'polygons'"),
    ("regions.tile_size_px", 4, r"=4; allowed: greater than or equal to 8"),
    ("regions.tile_size_px", 224, r"cells of 448 m .*\(best: 5%\). Lower min_cove"),
    ("regions.gsd_m", np.nan, r"=nan; allowed: a finite number"),
    ("regions.min_coverage", 1.5, r"=1.5; allowed: less than or equal to 1"),
    ("regions.mask_outside", True, r"is True, but .*; allowed: False, or kind"),
    ("blocks.size_m", -5.0, r"=-5.0; allowed: greater than 0 or 'auto'"),
    ("blocks.num_folds", 1, r"=1; allowed: greater than or equal to 3"),
    ("records.num_shards", 0, r"=0; allowed: greater than or equal to 1"),
    ("records.image_format", "gif", r"='gif'; allowed: 'png', 'webp'"),
    ("category_vectors.method", "word2vec", r"='word2vec'; allowed: 'skipgram'"),
]


# ---- what all of them have in common ----

_REMEDY = re.compile(
    r"\b(allowed|[Ww]anted|needed|[Ss]uch as|its columns|has no CRS.*`|Is it of|"
    r"Add|[Cc]heck|Correct|[Dd]eclare|Expand|[Gg]ive|Keep|Leave|Lower|must|[Nn]ame|"
    r"Perhaps|Put|Rectify|Replace|[Rr]ename|[Ss]ave|Say|Set|Take|turn|[Uu]se|Write)\b"
)


def _is_refused(city, message, settings=()):
    before = city.contents()
    with pytest.raises(InputError, match=message) as raised:
        for key, value in settings:
            city.set(key, value)
        build.build(city.config)
    head, *problems = str(raised.value).splitlines()
    assert f"{len(problems)} problem(s), nothing was built." in head or not problems
    for problem in problems or [head]:
        assert str(city.raw) in problem or "config." in problem, problem
        assert _REMEDY.search(problem), problem
    assert city.contents() == before


@pytest.mark.parametrize(
    ("damage", "message"), BAD, ids=[damage.__name__ for damage, _ in BAD]
)
def test_a_bad_file_is_explained_and_nothing_is_lost(city, damage, message):
    damage(city)
    _is_refused(city, message)


@pytest.mark.parametrize(("key", "value", "message"), SETTINGS)
def test_a_bad_setting_is_explained_and_nothing_is_lost(city, key, value, message):
    _is_refused(city, message, [(key, value)])
