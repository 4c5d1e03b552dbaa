"""From a box of degrees to the first map: two commands, from a server of this machine.

A generated city of 8 x 8 regions, trained for few epochs; `MMGR_FIRST_MAP=40` takes the
whole toy city, as the commands stand in the README.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import http_folder
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.shutil
import shapely
import stac_world
from rasterio.warp import transform_bounds

from data_prep.toy_city import generator
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax.data import schema

ROOT = Path(__file__).parents[2]
SIDE = int(os.environ.get("MMGR_FIRST_MAP", "8"))
SHORTER = ("--config.train.total=6 epochs", "--config.eval.curves.methods=()")
REGION_M = 128.0  # of the generated city; the config may choose larger ones
MOST_S = 600
GEO = '{"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": '
GEO += '{"encoding": "WKB", "geometry_types": ["Point"]}}}'

pytestmark = pytest.mark.slow


def write_places(path, pois):
    """POIs as Overture has places, in row groups that lie in one place each."""
    pois = pois.iloc[np.argsort(pois.hilbert_distance().to_numpy())]
    x, y = pois.geometry.x.to_numpy(), pois.geometry.y.to_numpy()
    sides = [pa.array(side.astype(np.float32)) for side in (x, x, y, y)]
    licence = dict(property="", dataset="generated", license="CC0-1.0", record_id="")
    kinds = zip(pois["parent"], pois["category"], strict=True)
    table = pa.table(
        {
            "id": [f"p{row:06d}" for row in range(len(pois))],
            "geometry": pa.array(shapely.to_wkb(pois.geometry).tolist(), pa.binary()),
            "bbox": pa.StructArray.from_arrays(sides, ["xmin", "xmax", "ymin", "ymax"]),
            "sources": [[licence]] * len(pois),
            "names": [dict(primary=f"n{row}") for row in range(len(pois))],
            "basic_category": pois["category"].tolist(),
            "taxonomy": [
                dict(primary=kind, hierarchy=[above, kind], alternates=[])
                for above, kind in kinds
            ],
            "confidence": np.ones(len(pois)),
            "operating_status": ["open"] * len(pois),
        }
    ).replace_schema_metadata({"geo": GEO})
    pq.write_table(table, path, row_group_size=2_000)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The generated city as the world has it, and its box."""
    root = tmp_path_factory.mktemp("world")
    settings = ToyCitySettings(str(root / "raw"), size_regions=(SIDE, SIDE))
    generator.generate(settings)
    image = root / "scene.tif"
    rasterio.shutil.copy(root / "raw/imagery.tif", image, driver="COG")
    item = stac_world.item(image, "2026-06-01", 1.0, "scene.tif", crs=settings.crs)
    item.properties["license"] = "CC0-1.0"
    item.set_self_href(str(root / "scene.json"))
    item.save_object(include_self_link=False)
    pois = gpd.read_parquet(root / "raw/pois.parquet")
    write_places(root / "places.parquet", pois.to_crs("EPSG:4326"))
    for name, unit in (("population", "persons"), ("gdp", "million CNY")):
        with rasterio.open(root / f"raw/{name}.tif", "r+") as raster:
            raster.units = (unit,)
    with rasterio.open(image) as raster:
        box = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds, densify_pts=21)
    return root, settings.crs, box


def run(folder, *arguments):
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_two_commands_go_from_a_box_to_the_first_map(world, tmp_path):
    root, crs, box = world
    (tmp_path / "configs").mkdir()
    start = time.monotonic()
    with http_folder.serving(root) as server:
        server.etags = True
        at = server.address
        fetched = run(
            tmp_path, "data_prep.fetch", f"--bbox={','.join(map(str, box))}",
            f"--imagery={at}/scene.json", f"--pois={at}/places.parquet",
            f"--labels=population={at}/raw/population.tif,gdp={at}/raw/gdp.tif",
            "--gsd_m=2", f"--crs={crs}", "--out=data/town/raw", "--cache=cache",
            "--build",
        )  # fmt: skip
    fetched_s = time.monotonic() - start
    manifest = schema.Manifest.load(next(tmp_path.glob("data/town/records*")))
    assert set(manifest.labels) == {"population", "gdp"} and manifest.max_pois > 0
    fitting = (SIDE * REGION_M / manifest.tile_size_m) ** 2
    assert manifest.num_regions >= 0.6 * fitting
    changes = () if "MMGR_FIRST_MAP" in os.environ else SHORTER
    shown = run(tmp_path, "mmgr_jax.main", "--config=configs/town.py", *changes)
    seconds = time.monotonic() - start
    (maps,) = tmp_path.glob("runs/*/maps")
    for name in ("population", "gdp"):
        assert (maps / f"{name}.png").stat().st_size > 20_000
    table = pd.read_parquet(maps / "embeddings.parquet")
    assert len(table) == manifest.num_regions
    assert "building again" not in shown
    print(
        f"\n{manifest.num_regions} regions: {fetched_s:.0f} s to records, "
        f"{seconds:.0f} s to the map\n{fetched}\n{shown}"
    )
    assert seconds < MOST_S
