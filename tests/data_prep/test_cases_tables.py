"""Tables of public bug reports, built as their users would; skipped where absent.

What is essential in each is tested by itself in `test_tables_as_written`,
`test_encodings` and `test_labels_tables`.
"""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import build
from mmgr_jax.data import folds, schema
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

ROOT = Path(__file__).parents[2]
CASES = ROOT.parent / "shared" / "cases"
SIX = ("bank", "cafe", "clinic", "park", "school", "shop")
ASKED = r"in which encoding its names are\. Declare the encoding in config\.{}\.encodi"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here"),
]


def _build(name, folder, *arguments, **environment):
    """Makes a case and builds its records; where they are."""
    made = subprocess.run(
        [sys.executable, str(CASES / name / "make.py"), *arguments],
        env=os.environ | dict(CASES_OUT=str(folder)) | environment,
        capture_output=True,
        check=False,
    )
    assert not made.returncode, made.stderr
    spec = importlib.util.spec_from_file_location(name, folder / name / "config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return build.build(module.get_config())


def _people(records_dir):
    source = RecordSource(records_dir)
    rows = source.read(range(len(source)), image=False)
    return float(np.nansum([row["label/population"] for row in rows]))


@pytest.mark.parametrize(
    ("name", "arguments", "categories", "num_pois"),
    [
        ("16-na-words", (), ("NA", *SIX[1:]), 400),
        ("23-nfc-nfd", (), ("Café", "bank", *SIX[2:]), 400),
        ("24-geojsonseq", (), SIX, 398),
        ("24b-flatgeobuf", (), SIX, 400),
        ("36-table-integer-ids", ("gpkg",), SIX, 400),
        ("36-table-integer-ids", ("pq",), SIX, 400),
    ],
)
def test_a_table_gives_what_it_says(tmp_path, name, arguments, categories, num_pois):
    records_dir = _build(name, tmp_path, *arguments)
    manifest = schema.Manifest.load(records_dir)
    assert manifest.categories == categories
    assert manifest.report["POIs inside"] == num_pois
    assert _people(records_dir) == 3396


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("17-dbf-ldid87-gbk", ASKED.format("pois")),
        ("18-zipped-shp-gbk", ASKED.format("pois")),
        ("19-upper-case-shp-gbk", ASKED.format("pois")),
        ("20-nested-column-whole", r"Name one part of it: 'fsq_category_labels\[0\]'"),
        ("21-overture-by-duckdb", "has no geometries, so config.pois.x_column"),
        ("37-trailing-comma", "line 2, 'p0' ..., has 7 fields and the header 6"),
        (
            "37b-trailing-comma-labels",
            "line 2, '101' ..., has 5 fields and the header 4",
        ),
        ("38-gbk-zones", ASKED.format("labels.function")),
        ("39-gbk-region-ids", ASKED.format("regions.polygons")),
    ],
)
def test_a_table_that_is_not_clear_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        _build(name, tmp_path)


def test_ids_and_classes_of_any_script_are_stored(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        records_dir = _build("53-cjk-map", tmp_path)
    ids = [f"街道{index:02d}" for index in range(64)]
    stored = folds.read(records_dir, schema.Manifest.load(records_dir), ids)
    assert len(stored["block"]) == 64 and "土地利用" in caplog.text
