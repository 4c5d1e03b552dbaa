"""Damaged tables of every format are read or refused, never a traceback.

A few mutations of each in the default suite, many in the slow one; seeds are printed.
"""

import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from test_encodings import _shapefile
from test_tables_as_written import TABLE, _frame, _geo, _read

from mmgr_jax.data import feature_tables
from mmgr_jax.errors import InputError

FEW, MANY = 8, 200
FRAME = _frame(["公园", "cafe", "NA"] * 5)


def _csv(path):
    FRAME.to_csv(path, index=False)


def _jsonl(path):
    lines = map(json.dumps, FRAME.to_dict("records"))
    path.write_text("\n".join(lines), encoding="utf-8")


def _dbf(path):
    _shapefile(path.with_suffix(".shp"))


def _zip(path):
    _dbf(path)
    with zipfile.ZipFile(path, "w") as archive:
        for suffix in (".shp", ".shx", ".dbf", ".prj"):
            archive.write(path.with_suffix(suffix), f"pois{suffix}")


def _features(path):
    table = pd.DataFrame(dict(region_id=["a", "b"], x=[1.0, 2.0], y=[3.0, 4.0]))
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        np.savez(path, region_id=["a", "b"], features=np.ones((2, 2)))


def _read_features(path):
    feature_tables.read("t", str(path), ["a", "b"])


WRITERS = {
    "pois.csv": _csv,
    "pois.csv.gz": _csv,
    "pois.parquet": FRAME.to_parquet,
    "places.parquet": _geo(FRAME).to_parquet,
    "pois.geojson": _geo(FRAME).to_file,
    "pois.gpkg": _geo(FRAME).to_file,
    "pois.jsonl": _jsonl,
    "pois.dbf": _dbf,
    "pois.zip": _zip,
    "table.csv": _features,
    "table.parquet": _features,
    "table.npz": _features,
}


def _call(path):
    if path.name.startswith("table"):
        return _read_features(path)
    if path.suffix in (".dbf", ".zip"):
        path = path.with_suffix(".shp") if path.suffix == ".dbf" else path
        return _read(path, encoding="gb18030")
    has_places = path.name in ("places.parquet", "pois.geojson", "pois.gpkg")
    return _read(path, **({} if has_places else TABLE))


def _mutated(content, rng):
    """Bytes changed, cut off, put in or taken out."""
    found = bytearray(content)
    place = int(rng.integers(len(found)))
    kind = rng.integers(4)
    if kind == 0:
        for index in rng.integers(len(found), size=3):
            found[index] = rng.integers(256)
    elif kind == 1:
        del found[place:]
    elif kind == 2:
        found[place:place] = rng.integers(0, 256, 8, np.uint8).tobytes()
    else:
        del found[place : place + 40]
    return bytes(found)


def _damage(folder, name, count):
    seed = int(os.environ.get("MMGR_SEED", np.random.SeedSequence().entropy % 2**32))
    print(f"MMGR_SEED={seed}")
    rng = np.random.default_rng(seed)
    path = folder / name
    WRITERS[name](path)
    content = path.read_bytes()
    for _ in range(count):
        path.unlink()
        path.write_bytes(_mutated(content, rng))
        try:
            _call(path)
        except InputError as error:
            assert str(error).endswith((".", ")", "?"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_damage_is_told(tmp_path, name):
    _damage(tmp_path, name, FEW)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_much_damage_is_told(tmp_path, name):
    _damage(tmp_path, name, MANY)
