"""The commands of docs/use_results.md, run as they stand on files of a small city."""

import io
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import pytest
import shapely

from mmgr_jax.data.schema import Label
from mmgr_jax.geo import cog, columns, geopackage, stac, writers
from mmgr_jax.geo.panels import Breaks

PAGE = Path(__file__).parents[1] / "docs" / "use_results.md"
CLASSES = ("water", "residential")
ROWS, COLUMNS = 4, 6
COUNT = ROWS * COLUMNS


def blocks(language):
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A folder with `runs/my_city/maps` as embed writes it, and what it was made of."""
    folder = tmp_path_factory.mktemp("results")
    maps = folder / "runs/my_city/maps"
    rng = np.random.default_rng(0)
    row, column = np.divmod(np.arange(COUNT), COLUMNS)
    x, y = 345_000 + 100.0 * column, 3_450_000 + 100.0 * row
    outlines = list(shapely.to_wkb(shapely.box(x, y, x + 100, y + 100)))
    ids = [f"r{index:02d}" for index in range(COUNT)]
    unlike = rng.random(COUNT) < 0.3
    value = rng.gamma(0.5, 1000, COUNT)
    shares = rng.dirichlet(np.ones(2), COUNT)
    persons = Label("count", "persons", licence="CC0-1.0")
    use = Label("share", "1", classes=CLASSES)
    mapped = [
        columns.Mapped(
            "population", persons, value, value, value / 2, value * 2, unlike
        ),
        columns.Mapped("function", use, shares, shares, shares, shares, unlike),
    ]
    embeddings = rng.normal(size=(COUNT, 8)).astype(np.float32)
    table = maps / "embeddings.parquet"
    writers.write_embeddings(
        table,
        region_ids=ids,
        geometry_wkb=outlines,
        crs="EPSG:32651",
        embeddings=embeddings,
        columns={k: v for one in mapped for k, v in columns.of_task(one).items()},
        metadata={
            "city": "my_city", "features": "image", "readout": {}, "groups": [],
            "made_by": {}, "interval_level": 0.9, "created": "2026-11-28T00:00:00Z",
        },
    )  # fmt: skip
    columns.write_dictionary(
        table,
        [c for one in mapped for c in columns.about_task(one.task, one.label, 0.9)],
    )
    geopackage.write(
        maps / "regions.gpkg",
        region_ids=ids,
        geometry_wkb=outlines,
        crs="EPSG:32651",
        mapped=mapped,
        breaks={"population": Breaks.of(value), "function": None},
        level=0.9,
        members={},
    )
    origin = stac.Origin(
        facts={"tile_size_m": 1.0, "imagery": {}, "pois": {}, "labels": {}},
        layout=stac.layout({}, 8),
        source_href="./manifest.json",
        model={},
        software={"mmgr-jax": "0"},
    )
    described = [c for m in mapped for c in columns.about_task(m.task, m.label, 0.9)]
    stac.write(table, origin, described, [], uncertain=True)
    for one in mapped:
        breaks = None if one.label.classes else Breaks.of(value)
        cog.write(maps, cog.grid(maps, outlines, "EPSG:32651"), one, 0.9, breaks)
    return folder, value, shares, unlike, embeddings


def test_python_reads_table_layer_and_image(city, monkeypatch):
    folder, value, _, unlike, embeddings = city
    monkeypatch.chdir(folder)
    names, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        for block in blocks("python"):
            exec(compile(block, str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["embeddings"], embeddings)
    assert printed.getvalue().startswith(f"{COUNT} (24, 8) ")
    assert float(printed.getvalue().splitlines()[0].split()[-1]) == pytest.approx(
        value[~unlike].sum(), rel=1e-6
    )
    assert len(names["part"]) == COUNT / 2 and len(names["layer"]) == COUNT
    assert names["unit"] == "persons"
    place = names["item"].assets["embeddings"].get_absolute_href()
    assert Path(place) == folder / "runs/my_city/maps/embeddings.parquet"
    expected = np.float32(value).reshape(ROWS, COLUMNS)[::-1]  # north is up
    np.testing.assert_array_equal(names["predicted"], expected)


def test_int8_reads_back_by_the_lines_of_the_page(tmp_path, monkeypatch):
    maps = tmp_path / "runs/my_city/maps"
    values = np.random.default_rng(1).normal(size=(COUNT, 8)).astype(np.float32)
    writers.write_embeddings(
        maps / "embeddings.parquet",
        region_ids=[f"r{index}" for index in range(COUNT)],
        geometry_wkb=[shapely.box(0, 0, 1, 1).wkb] * COUNT,
        crs="EPSG:32651",
        embeddings=values,
        columns={},
        metadata={},
        packed=True,
    )
    (block,) = (block for block in blocks("python") if "offset" in block)
    table = geopandas.read_parquet(maps / "embeddings.parquet")
    stored = np.stack(table["embedding"].to_numpy())
    names = {"maps": maps, "np": np, "embeddings": stored}
    exec(compile(block, str(PAGE), "exec"), names)
    np.testing.assert_allclose(names["embeddings"], values, atol=0.02)
    assert stored.dtype == np.int8 and np.abs(stored).max() == 127
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("sql") if "offset" in block)
    rows = duckdb.connect().sql(block).fetchall()
    unpacked = np.array([vector for _, vector in rows])
    np.testing.assert_allclose(unpacked, names["embeddings"], atol=1e-5)


def test_r_reads_the_geopackage(city):
    if not shutil.which("Rscript"):
        pytest.skip("R is not installed (Debian: r-base-core r-cran-sf)")
    (block,) = (block for block in blocks("r") if "library(sf)" in block)
    program = f"{block}\ncat(nrow(regions), sum(regions$population_predicted))"
    done = subprocess.run(
        ["Rscript", "-e", program], cwd=city[0], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    count, total = done.stdout.split()[-2:]
    assert (int(count), float(total)) == (COUNT, pytest.approx(city[1].sum(), rel=1e-4))


def test_duckdb_answers_every_query(city, monkeypatch):
    folder, value, shares, unlike, embeddings = city
    monkeypatch.chdir(folder)
    first, by_class, alike, names = (
        duckdb.connect().sql(block).fetchall()
        for block in blocks("sql")
        if "offset" not in block
    )
    order = [f"r{index:02d}" for index in np.argsort(-value) if not unlike[index]]
    assert [row[0] for row in first] == order[:10]
    largest = np.asarray(CLASSES)[shares.argmax(axis=1)]
    assert {row[:2] for row in by_class} == {
        (name, int((largest == name).sum())) for name in CLASSES
    }
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = unit @ unit[value.argmax()]
    assert [row[0] for row in alike] == [
        f"r{index:02d}" for index in np.argsort(-cosine)[1:11]
    ]
    assert ("population_pred", "persons", "Predicted population.", "CC0-1.0") in names


def test_commands_of_gdal_read_them(city):
    if not shutil.which("ogr2ogr"):
        pytest.skip("GDAL's commands are not installed (Debian: gdal-bin)")
    (commands,) = (block for block in blocks("bash") if "ogr2ogr" in block)
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=city[0], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    assert f"Feature Count: {COUNT}" in done.stdout
    assert "Description = population_predicted" in done.stdout
    assert (city[0] / "runs/my_city/maps/regions.geojson").exists()


def test_every_file_of_a_run_is_on_the_page(city):
    page = PAGE.read_text()
    for path in (city[0] / "runs/my_city/maps").iterdir():
        name = re.sub("population|function", "<label>", path.name)
        if path.suffix != ".geojson":
            assert f"`{name}" in page, name
