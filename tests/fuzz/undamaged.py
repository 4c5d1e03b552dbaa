"""Small whole files of every kind that the program reads, to be damaged."""

import json
import warnings
import zipfile

import containers
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import shapely
import small_city
from affine import Affine
from rasterio.enums import Resampling
from small_imagery import write_vrt

SIZE = (64, 48)  # of the imagery of the small city in pixels
GRID = Affine(small_city.GSD_M, 0, small_city.WEST_M, 0, -2.0, small_city.NORTH_M)
WORDS = ("公园", "cafe", "NA", "bar")


# ---- imagery ----


def pixels(bands=3):
    """Noise on the grid of the small city [bands h w]."""
    image = small_city.pixels()
    return np.concatenate([image, image])[:bands]


def geotiff(folder):
    """Tiled, compressed, with alpha, overviews and statistics beside it."""
    path = folder / "image.tif"
    small_city.write_raster(
        path, np.concatenate([pixels(3), np.full((1, 48, 64), 255, np.uint8)]),
        tiled=True, blockxsize=16, blockysize=16, compress="LZW", photometric="RGB",
        alpha="YES",
    )  # fmt: skip
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as target:
        target.build_overviews([2], Resampling.average)
    _statistics(path)


def geotiff_striped(folder):
    """Several bands of 16 bits with a nodata value, tags and names."""
    path = folder / "image.tif"
    deep = pixels(4).astype(np.uint16) * 200
    small_city.write_raster(path, deep, nodata=0, compress="DEFLATE", interleave="band")
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("blue", "green", "red", "nir")
        target.update_tags(1, note="a < b")


def world_file(folder, driver="GTiff", name="image.tif", world=".tfw"):
    """An image whose place and CRS lie beside it."""
    path = folder / name
    profile = dict(driver=driver, transform=None, crs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small_city.write_raster(path, pixels(), **profile)
    (folder / f"{name}.aux.xml").unlink(missing_ok=True)
    corner = GRID @ (0.5, 0.5)
    numbers = (GRID.a, GRID.d, GRID.b, GRID.e, *corner)
    path.with_suffix(world).write_text("\n".join(f"{number:.6f}" for number in numbers))
    _statistics(path, _wkt())


def png(folder):
    """With a .pgw."""
    world_file(folder, "PNG", "image.png", ".pgw")


def jpeg(folder):
    """With a .jgw."""
    world_file(folder, "JPEG", "image.jpg", ".jgw")


def jpeg_2000(folder):
    """JPEG 2000."""
    small_city.write_raster(folder / "image.jp2", pixels(), driver="JP2OpenJPEG")


def erdas(folder):
    """Erdas Imagine."""
    small_city.write_raster(folder / "image.img", pixels(), driver="HFA")


def ascii_grid(folder):
    """Of one band, with a .prj."""
    rows = "\n".join(" ".join(map(str, row)) for row in pixels(1)[0].tolist())
    head = f"ncols 64\nnrows 48\nxllcorner {small_city.WEST_M}\n"
    head += f"yllcorner {small_city.NORTH_M - 96}\ncellsize 2\nNODATA_value 0\n"
    (folder / "image.asc").write_text(head + rows + "\n")
    (folder / "image.prj").write_text(_wkt())


def mosaic(folder):
    """A mosaic of a mosaic and a file."""
    small_city.write_raster(folder / "a.tif", pixels()[:, :, :32])
    moved = GRID @ Affine.translation(32, 0)
    small_city.write_raster(folder / "b.tif", pixels()[:, :, 32:], transform=moved)
    write_vrt(folder / "inner.vrt", (32, 48), 2, [("a.tif", 0, 0, 32, 48)])
    parts = [("inner.vrt", 0, 0, 32, 48), ("b.tif", 32, 0, 32, 48)]
    write_vrt(folder / "image.vrt", SIZE, 2, parts)


def chips(folder):
    """Two files, a region each."""
    for name, column in (("a", 0), ("b", 16)):
        part = pixels()[:, :16, column : column + 16]
        moved = GRID @ Affine.translation(column, 0)
        small_city.write_raster(folder / f"{name}.tif", part, transform=moved)


def web_tiles(folder):
    """Two tiles z/x/y of a web map, which says where they lie by their paths."""
    for x in (54_900, 54_901):
        path = folder / f"16/{x}/26700.png"
        path.parent.mkdir(parents=True)
        world_file(path.parent, "PNG", path.name, ".pgw")
        for side in path.parent.glob("26700.p*w"):
            side.unlink()
        (path.parent / f"{path.name}.aux.xml").unlink()


def _statistics(path, wkt=""):
    srs = f"<SRS>{wkt.replace('&', '&amp;').replace('<', '&lt;')}</SRS>" if wkt else ""
    path.with_name(f"{path.name}.aux.xml").write_text(
        f'<PAMDataset>{srs}<PAMRasterBand band="1"><Description>red</Description>'
        '<NoDataValue>7</NoDataValue><Metadata><MDI key="STATISTICS_MEAN">3</MDI>'
        "</Metadata></PAMRasterBand></PAMDataset>"
    )


def _wkt():
    return rasterio.crs.CRS.from_string(small_city.CRS).to_wkt()


# ---- labels and regions ----


def label_raster(folder):
    """A count a cell, whole numbers with nodata."""
    people = np.arange(12, dtype=np.int32).reshape(3, 4) * 10
    coarse = GRID @ Affine.scale(small_city.TILE_PX)
    path = small_city.write_raster(
        folder / "label.tif", people, transform=coarse, nodata=-9999
    )
    with rasterio.open(path, "r+") as target:
        target.units = ("persons",)


def packed_raster(folder):
    """A density, packed by scale and offset, of another CRS, with a side file."""
    numbers = np.arange(24, dtype=np.uint16).reshape(4, 6)
    with rasterio.open(
        folder / "label.tif", "w", driver="GTiff", width=6, height=4, count=1,
        dtype="uint16", crs="EPSG:4326", tiled=True, blockxsize=16, blockysize=16,
        transform=Affine(0.0005, 0, 122.9995, 0, -0.0005, 31.1842),
    ) as target:  # fmt: skip
        target.write(numbers, 1)
        target.scales, target.offsets = (0.1,), (5.0,)
    _statistics(folder / "label.tif")


def zones(folder, name="zones.gpkg", crs=small_city.CRS):
    """Polygons with a class, a number and an id; one of them has a hole."""
    north = small_city.NORTH_M
    left = small_city.WEST_M + 32.0 * np.arange(4)
    boxes = shapely.box(left, north - 96, left + 32, north)
    hole = shapely.box(left[3] + 12, north - 20, left[3] + 18, north - 9)
    boxes[3] = shapely.difference(boxes[3], hole)
    columns = dict(
        id=[7, 8, 9, 10],
        zone=[*small_city.CLASSES, None],
        people=[1.5, 20.0, None, 4.0],
    )
    table = gpd.GeoDataFrame(columns, geometry=boxes, crs=small_city.CRS).to_crs(crs)
    path = folder / name
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".zip":
        table.to_file(path.with_suffix(".shp"))
        _pack(path, path.with_suffix(".shp"))
    else:
        table.to_file(path)


def points(folder):
    """Points with a count in a table."""
    x = small_city.WEST_M + 16 + 32.0 * np.arange(4)
    table = dict(x=x, y=np.full(4, small_city.NORTH_M - 16), people=[1, 20, 3, 4])
    pd.DataFrame(table).to_csv(folder / "points.csv", index=False)


def label_table(folder, name="table.csv"):
    """A row a region: a number, a class, and shares."""
    ids = [f"r{row:04d}c{column:04d}" for row in range(3) for column in range(3)]
    classes = list(small_city.CLASSES) * 3
    table = pd.DataFrame(dict(id=ids, people=np.arange(9.0), zone=classes))
    shares = np.array([0.2, 0.3, 0.5])
    for number, of in enumerate(small_city.CLASSES):
        table[of] = np.roll(shares, number)[np.arange(9) % 3]
    _table(table, folder / name)


def _table(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)


# ---- POIs ----


def pois(folder, name="pois.csv"):
    """Places of four categories with names and first-level categories."""
    path, number = folder / name, 12
    frame = pd.DataFrame(
        dict(
            name=[f"p{row}" for row in range(number)],
            category=list(WORDS) * 3,
            parent=["land", "food", None, "food"] * 3,
            stars=np.arange(number, dtype=float),
            lon=123.0 + 1e-4 * np.arange(number),
            lat=31.18 + 1e-4 * np.arange(number),
        )
    )
    if path.suffix in (".csv", ".tsv", ".txt") or name.endswith(".csv.gz"):
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix == ".jsonl":
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif name == "pois.parquet":
        frame.to_parquet(path)
    else:
        _write_places(frame, path)


def _write_places(frame, path):
    places = shapely.points(frame["lon"], frame["lat"])
    frame = frame.drop(columns=["lon", "lat"])
    table = gpd.GeoDataFrame(frame, geometry=places, crs=4326)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix in (".zip", ".shp"):
        shape = path.with_suffix(".shp")
        table.to_file(shape, encoding="utf-8")
        if path.suffix == ".zip":
            _pack(path, shape)
    elif path.suffix == ".geojsonl":
        table.to_file(path, driver="GeoJSONSeq")
    else:
        table.to_file(path)


def _pack(path, shape):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix in (".shp", ".shx", ".dbf", ".prj", ".cpg"):
            part = shape.with_suffix(suffix)
            archive.write(part, part.name)
            part.unlink()


def overture(folder):
    """Overture Places as the releases have them, structs and lists."""
    rows = [
        dict(
            id=str(row), names=dict(primary=f"p{row}"),
            categories=dict(primary="cafe", alternate=["bar"]),
            taxonomy=dict(primary="cafe", hierarchy=["food", "cafe"]),
            basic_category="cafe" if row % 2 else "park",
        )
        for row in range(6)
    ]  # fmt: skip
    places = shapely.points(123.0 + 1e-4 * np.arange(6), np.full(6, 31.18))
    table = gpd.GeoDataFrame(pd.DataFrame(rows), geometry=places, crs=4326)
    table.to_parquet(folder / "places.parquet")


def osm_xml(folder):
    """Three places and an area."""
    nodes = ""
    for number, (lon, lat, tags) in enumerate(_osm_nodes(), 1):
        text = "".join(f'<tag k="{key}" v="{of}"/>' for key, of in tags.items())
        place = f'lat="{lat}" lon="{lon}"'
        nodes += f'<node id="{number}" version="1" {place}>{text}</node>\n'
    ring = "".join(f'<nd ref="{node}"/>' for node in (4, 5, 6, 4))
    way = f'<way id="1" version="1">{ring}<tag k="amenity" v="school"/></way>\n'
    relation = '<relation id="9" version="1"><member type="way" ref="1" role="outer"/>'
    relation += '<tag k="type" v="multipolygon"/><tag k="leisure" v="park"/></relation>'
    text = f'<osm version="0.6">\n{nodes}{way}{relation}</osm>'
    (folder / "city.osm").write_text(text)


def osm_pbf(folder):
    """The same as blocks of protocol buffers, without the relation.

    Reference: https://wiki.openstreetmap.org/wiki/PBF_Format
    """
    texts, nodes = [""], b""
    for number, (lon, lat, tags) in enumerate(_osm_nodes(), 1):
        keys, values = [], []
        for key, value in tags.items():
            for text, into in ((key, keys), (value, values)):
                texts += [text] if text not in texts else []
                into.append(texts.index(text))
        node = _number(1, _signed(number)) + _number(8, _signed(round(lat * 1e7)))
        node += _number(9, _signed(round(lon * 1e7)))
        node += _bytes(2, bytes(keys)) + _bytes(3, bytes(values)) if keys else b""
        nodes += _bytes(1, node)
    way = _number(1, containers.as_varint(1))
    way += _bytes(2, bytes([len(texts)])) + _bytes(3, bytes([len(texts) + 1]))
    way += _bytes(8, b"".join(map(_signed, (4, 1, 1, -2))))
    table = b"".join(_bytes(1, text.encode()) for text in [*texts, "amenity", "school"])
    body = _bytes(1, table) + _bytes(2, nodes) + _bytes(2, _bytes(3, way))
    head = _bytes(4, b"OsmSchema-V0.6") + _bytes(4, b"DenseNodes")
    (folder / "city.osm.pbf").write_bytes(
        containers.packed_block(b"OSMHeader", head)
        + containers.packed_block(b"OSMData", body)
    )


def _number(field, content):
    return bytes([field << 3]) + content


def _bytes(field, content):
    return bytes([field << 3 | 2]) + containers.as_varint(len(content)) + content


def _signed(number):
    return containers.as_varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _osm_nodes():
    places = [(123.0 + 1e-4 * n, 31.18 + 1e-4 * (n % 2)) for n in range(6)]
    tags = [dict(amenity="cafe", name="a"), dict(shop="books"), dict(tourism="hotel")]
    return [(*place, of) for place, of in zip(places, [*tags, {}, {}, {}], strict=True)]


def osm_geojson(folder):
    """A column a tag, as overpass-turbo exports them."""
    features = [
        dict(
            type="Feature",
            properties={"@id": f"node/{number}", **tags},
            geometry=dict(type="Point", coordinates=[lon, lat]),
        )
        for number, (lon, lat, tags) in enumerate(_osm_nodes()[:3], 1)
    ]
    text = json.dumps(dict(type="FeatureCollection", features=features))
    (folder / "city.geojson").write_text(text)


def category_lists(folder):
    """POIs and a list of categories that cities share."""
    pois(folder)
    text = "category,parent\n公园,land\ncafe,food\nbar,food\nother,\n"
    (folder / "list.csv").write_text(text, encoding="utf-8")


def osm_rules(folder):
    """An extract with rules of its own."""
    osm_xml(folder)
    (folder / "rules.csv").write_text(
        "key,value,category,parent\namenity,cafe,cafe,food\namenity,*,amenity/*,other\n"
        "shop,*,shop/*,shop\ntourism,hotel,,\n"
    )


# ---- tables of numbers ----


def features(folder, name="table.csv"):
    """Features of two regions."""
    path = folder / name
    ids, numbers = ["a", "b"], np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    if path.suffix == ".npz":
        np.savez_compressed(path, region_id=ids, features=numbers, metadata='{"a": 1}')
    elif path.suffix == ".parquet":
        table = pa.table(dict(region_id=ids, embedding=list(numbers)))
        said = {"emb": json.dumps(dict(model="m", column="embedding", scale=2))}
        pq.write_table(table.replace_schema_metadata(said), path)
    else:
        table = pd.DataFrame(dict(region_id=ids, x=numbers[:, 0], y=numbers[:, 1]))
        table.to_csv(path, index=False)


def category_vectors(folder, name="vectors.csv"):
    """A vector of three numbers a category, and a phrase for one of them."""
    columns = dict(category=list(WORDS), a=[1, 2, 3, 4], b=[0.5] * 4, c=[-1.0] * 4)
    _table(pd.DataFrame(columns), folder / name)
    (folder / "phrases.csv").write_text("category,phrase\ncafe,a place for tea\n")


def text_space(folder):
    """What lies beside records whose vectors came of texts."""
    np.savez(
        folder / "category_text.npz", model="wordllama", folder="", version="1",
        phrases=np.array(["a", "b"]), mean=np.zeros(4), components=np.ones((3, 4)),
        scale=2.0,
    )  # fmt: skip
