"""A city as an archive of vector tiles, read back by the package's reader."""

import gzip

import mapbox_vector_tile
import numpy as np
import pyproj
import pytest
import shapely
from pmtiles import reader

from mmgr_jax.errors import InputError
from mmgr_jax.geo import pmtiles

CRS, SIZE_M = "EPSG:32651", 60.0
TO_M = pyproj.Transformer.from_crs("EPSG:3857", CRS, always_xy=True)
HOSTILE = '<img src=x onerror="document.title=1">'


def _grid(rows, columns, size_m=SIZE_M):
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    west, south = 3e5 + column.ravel() * size_m, 3.4e6 - row.ravel() * size_m
    return shapely.box(west, south, west + size_m, south + size_m)


def _write(path, polygons, columns=None, **more):
    written = pmtiles.write(
        path,
        geometry_wkb=shapely.to_wkb(polygons).tolist(),
        crs=CRS,
        columns=columns or {},
        name=HOSTILE,
        **more,
    )
    data = path.read_bytes()
    return written, reader.MemorySource(data)


def _tiles(source):
    """Zoom, column, row -> the layers of each tile."""
    return {
        place: mapbox_vector_tile.decode(
            gzip.decompress(data), default_options={"y_coord_down": True}
        )
        for place, data in reader.all_tiles(source)
    }


def _in_metres(place, feature):
    """A feature's outline in the CRS of the city."""
    zoom, x, y = place
    world, half = 2 * 20037508.342789244, 20037508.342789244

    def placed(units):
        share = (np.array([x, y]) + units / 4096) / 2**zoom
        metres = share[:, 0] * world - half, half - share[:, 1] * world
        return np.stack(TO_M.transform(*metres), axis=1)

    return shapely.transform(shapely.geometry.shape(feature["geometry"]), placed)


@pytest.fixture(scope="module")
def city():
    return _grid(30, 40)


@pytest.fixture(scope="module")
def archive(city, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pmtiles, "MOST_REGIONS", 300)
        yield _archive(city, tmp_path_factory)


def _archive(city, tmp_path_factory):
    rng = np.random.default_rng(0)
    number = len(city)
    columns = {
        "population": rng.uniform(0, 9, number).astype(np.float32),
        "zone": np.array(["park", HOSTILE], object)[rng.integers(0, 2, number)],
        "region_id": np.array([f"r{i}" for i in range(number)], object),
        "unlike": rng.uniform(size=number) < 0.3,
    }
    path = tmp_path_factory.mktemp("tiles") / "regions.pmtiles"
    written, source = _write(path, city, columns, attribution=f"census {HOSTILE}")
    return written, source, columns


@pytest.fixture(scope="module")
def tiles(archive):
    return _tiles(archive[1])


def test_every_region_is_where_it_lies_in_the_zooms_of_regions(city, archive, tiles):
    written = archive[0]
    for zoom in range(written.region_zoom, written.max_zoom + 1):
        pieces = [[] for _ in city]
        unit_m = 40075016 / 2**zoom / 4096 * np.cos(np.radians(31))
        for place, layers in tiles.items():
            if place[0] != zoom:
                continue
            assert set(layers) == {"regions"}
            for feature in layers["regions"]["features"]:
                own = _in_metres(place, feature)
                region = feature["id"]
                assert city[region].buffer(1.5 * unit_m).covers(own)
                pieces[region].append(own)
        areas = [shapely.union_all(own).area for own in pieces]
        np.testing.assert_allclose(areas, SIZE_M**2, rtol=3 * unit_m / SIZE_M)


def test_attributes_are_those_of_the_region(archive, tiles):
    written, _, columns = archive
    columns = {name: values.tolist() for name, values in columns.items()}
    seen = 0
    for place, layers in tiles.items():
        if place[0] < written.region_zoom:
            continue
        for feature in layers["regions"]["features"]:
            region = feature["id"]
            own = {name: values[region] for name, values in columns.items()}
            assert feature["properties"] == own
            seen += 1
    assert seen >= 2 * len(columns["unlike"])


def test_below_cells_count_every_region_and_hold_means(archive, tiles):
    written, _, columns = archive
    assert written.min_zoom < written.region_zoom
    for zoom in range(written.min_zoom, written.region_zoom):
        cells = [
            feature["properties"]
            for place, layers in tiles.items()
            if place[0] == zoom
            for feature in layers["cells"]["features"]
        ]
        counts = np.array([cell[pmtiles.IN_CELL] for cell in cells])
        assert counts.sum() == len(columns["unlike"])
        mean = np.array([cell["population"] for cell in cells])
        total = columns["population"].astype(float).sum()
        np.testing.assert_allclose(mean @ counts, total, rtol=1e-5)
        assert {cell["zone"] for cell in cells} <= {"park", HOSTILE}
        assert "region_id" not in cells[0]


def test_header_and_metadata(city, archive):
    written, source, _ = archive
    header = reader.Reader(source).header()
    assert (header["min_zoom"], header["max_zoom"]) == (
        written.min_zoom,
        written.max_zoom,
    )
    assert header["clustered"] and header["version"] == 3
    to_deg = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, _ = to_deg.transform(*shapely.total_bounds(city)[[0, 1]])
    assert header["min_lon_e7"] / 1e7 == pytest.approx(west, abs=0.01)
    about = reader.Reader(source).metadata()
    assert about["name"] == HOSTILE
    assert "<" not in about["attribution"]  # maps take it for HTML
    layers = {layer["id"]: layer for layer in about["vector_layers"]}
    assert layers["regions"]["minzoom"] == written.region_zoom
    assert layers["cells"]["maxzoom"] == written.region_zoom - 1
    assert layers["regions"]["fields"]["zone"] == "String"
    assert layers["regions"]["fields"]["unlike"] == "Boolean"


def test_no_tile_is_large_and_the_same_city_gives_the_same_bytes(
    city, archive, tmp_path
):
    written, source, columns = archive
    sizes = [len(gzip.decompress(data)) for _, data in reader.all_tiles(source)]
    assert max(sizes) == written.largest_bytes <= pmtiles.MOST_BYTES
    assert len(sizes) == written.num_tiles
    again, _ = _write(tmp_path / "a", city, columns, attribution=f"census {HOSTILE}")
    assert again == written


def test_outlines_of_many_corners_stay_beside_each_other(tmp_path):
    """Quarters with winding borders: none overlaps, nothing lies between them."""
    rng = np.random.default_rng(0)
    points = shapely.multipoints(rng.uniform(0, 20_000, (400, 2)))
    cells = shapely.get_parts(shapely.voronoi_polygons(points))
    whole = shapely.box(1000, 1000, 19_000, 19_000)
    cells = shapely.intersection(cells, whole)
    cells = shapely.segmentize(cells[~shapely.is_empty(cells)], 40)
    cells = shapely.transform(
        cells, lambda xy: xy + 30 * np.sin(xy[:, ::-1] / 90) + [3e5, 3.4e6]
    )
    path = tmp_path / "regions.pmtiles"
    written, source = _write(path, cells)
    tiles = _tiles(source)
    zoom = written.min_zoom
    assert zoom == written.region_zoom
    parts = [
        _in_metres(place, feature)
        for place, layers in tiles.items()
        if place[0] == zoom
        for feature in layers["regions"]["features"]
    ]
    corners = sum(shapely.get_num_coordinates(part) for part in parts)
    assert corners < shapely.get_num_coordinates(cells).sum() / 3
    together = shapely.union_all(parts)
    area = shapely.area(cells).sum()
    assert abs(together.area - area) < 0.005 * area


def test_one_region_and_a_city_in_which_all_are_alike(tmp_path, monkeypatch):
    written, source = _write(tmp_path / "a.pmtiles", _grid(1, 1))
    assert written.region_zoom == written.min_zoom
    assert all(layers["regions"]["features"] for layers in _tiles(source).values())
    monkeypatch.setattr(pmtiles, "MOST_REGIONS", 50)
    monkeypatch.setattr(pmtiles, "MOST_BYTES", 2000)
    same = np.repeat(_grid(1, 1), 120)  # no zoom tells them apart
    written, source = _write(tmp_path / "b.pmtiles", same)
    assert written.region_zoom == pmtiles.MOST_ZOOM - 1
    assert written.largest_bytes <= 2000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(crs="EPSG:0"), "CRS 'EPSG:0' is unknown"),
        (dict(columns={pmtiles.IN_CELL: np.zeros(1)}), "Rename the label"),
        (dict(crs="EPSG:3995"), "degrees of latitude; allowed .* -85 to 85"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, changed, message):
    given = dict(
        geometry_wkb=[shapely.box(0, 0, 10, 10).wkb], crs=CRS, columns={}, name="a"
    )
    with pytest.raises(InputError, match=message):
        pmtiles.write(tmp_path / "a.pmtiles", **{**given, **changed})
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pmtiles, "_PACKAGES", ("pmtiles", "no_such_package"))
    with pytest.raises(InputError, match="package.* no_such_package; install"):
        pmtiles.require_packages()
