import re

import geopandas as gpd
import pytest
import shapely
import small_city
import small_regions

from data_prep.regions import check as checks
from mmgr_jax.errors import InputError


def _problems(**changes):
    return checks.problems(small_regions.settings(**changes))


def _of_polygons(path, id_column=None, **changes):
    section = dict(path=path, id_column=id_column)
    return _problems(kind="polygons", polygons=section, **changes)


def _write(folder, outlines, crs=small_city.CRS, **columns):
    path = folder / "zones.gpkg"
    gpd.GeoDataFrame(columns, geometry=outlines, crs=crs).to_file(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "hexagon"),
        ("tile_size_px", 4),
        ("gsd_m", 0.0),
        ("min_coverage", 0.0),
        ("min_coverage", 1.5),
        ("max_blank_share", 0.0),
        ("poi_buffer_m", -1.0),
        ("max_regions", 0),
    ],
)
def test_impossible_settings_are_named(name, value):
    told = re.escape(f"config.regions.{name}={value!r}; allowed: ")
    with pytest.raises(InputError, match="^" + told):
        small_regions.settings(**{name: value})


def test_usual_settings_are_fine():
    assert _problems(max_regions=None, poi_buffer_m=150.0) == []
    assert _problems(kind="h3", mask_outside=True) == []
    assert _problems(kind="chips") == []


def test_only_an_outline_can_be_masked():
    for kind in ("grid", "chips"):
        (problem,) = _problems(kind=kind, mask_outside=True)
        assert f"kind '{kind}' is its whole tile; allowed: False" in problem


def test_h3_settings_are_checked():
    def told(resolution, containment="overlap"):
        section = dict(resolution=resolution, containment=containment)
        return " ".join(_problems(kind="h3", h3=section))

    assert "resolution is 16; allowed: 0 to 15" in told(16)
    assert "resolution is -1; allowed: 0 to 15" in told(-1)
    # On average a cell of resolution 14 is 3.1 m across: 1.5 pixels of 2 m.
    assert "about 1.5 pixels of gsd_m 2 across; allowed: at least 8" in told(14)
    with pytest.raises(InputError, match="'full'; allowed: 'overlap' or 'center'"):
        told(10, "full")


def test_a_file_of_polygons_must_be_there(tmp_path):
    (problem,) = _of_polygons(None)
    assert "config.regions.polygons.path None: no such file. Wanted:" in problem
    broken = tmp_path / "zones.gpkg"
    broken.write_bytes(b"SQLite format 3\0 and no more")
    (problem,) = _of_polygons(str(broken))
    assert "cannot be read" in problem
    table = tmp_path / "zones.csv"
    table.write_text("zone,population\na,1\n")
    (problem,) = _of_polygons(str(table))
    assert "zones.csv: has no geometries. Wanted: polygons." in problem


def test_a_file_of_polygons_must_say_where_it_lies(tmp_path):
    path = _write(tmp_path, [shapely.box(0, 0, 1, 1)], crs=None)
    (problem,) = _of_polygons(path)
    assert "has no CRS" in problem


def test_rows_that_are_no_polygons_are_named(tmp_path):
    point, box = shapely.Point(1, 1), shapely.box(0, 0, 1, 1)
    path = tmp_path / "zones.geojson"
    gpd.GeoDataFrame(geometry=[box, point, box, point], crs=4326).to_file(path)
    (problem,) = _of_polygons(str(path))
    assert "2 row(s) hold 'Point': row 2, 4. Wanted: polygons" in problem


def test_ids_must_be_there_and_unique(tmp_path):
    boxes = [shapely.box(k, 0, k + 1, 1) for k in range(5)]
    path = _write(tmp_path, boxes, zone=["a", "b", None, "a ", " "])
    missing, twice = _of_polygons(path, "zone")
    assert "2 row(s) have no id in column 'zone': row 3, 5." in missing
    assert "1 id(s) more than once: 'a' (row 1, 4)" in twice
    assert _of_polygons(path) == []
    (problem,) = _of_polygons(path, "name")
    assert "has no column 'name', which config.regions.polygons.id_column" in problem


def test_fit_is_one_of_two():
    with pytest.raises(InputError, match="fit='crop'; allowed: 'refuse' or 'scale'"):
        small_regions.settings(polygons=dict(fit="crop"))
