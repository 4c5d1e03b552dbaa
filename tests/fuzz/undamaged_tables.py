"""Small whole tables of every kind that the program reads, to be damaged."""

import json
import zipfile

import containers
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import small_city

WORDS = ("公园", "cafe", "NA", "bar")

# ---- labels and regions ----


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
