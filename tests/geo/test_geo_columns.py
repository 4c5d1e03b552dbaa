"""Columns of a table of regions, and the dictionary that says what they are."""

import csv

import numpy as np
import pytest
import shapely

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.geo import columns, writers

NAN = np.nan
POPULATION = Label("count", "persons", year=2020, source="=census", licence="CC0-1.0")
FUNCTION = Label("share", "1", classes=("water", "residential"), year=2021)
KIND = Label("class", "1", classes=("old", "new"))


def mapped(task, label, truth, value):
    truth, value = np.array(truth, float), np.array(value, float)
    return columns.Mapped(
        task, label, truth, value, value - 1, value + 1, np.zeros(len(value), bool)
    )


CASES = [
    mapped("population", POPULATION, [1, NAN, 3], [2, 3, 4]),
    mapped("function", FUNCTION, [[0.2, 0.8], [NAN, NAN], [0.5, 0.5]],
           [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]]),
    mapped("kind", KIND, [0, 1, NAN], [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_every_column_is_described_and_no_other(case):
    described = columns.about_task(case.task, case.label, 0.9)
    assert [column.name for column in described] == list(columns.of_task(case))
    readable = [column.readable for column in described]
    assert len(set(readable)) == len(readable) and all(readable)
    assert all(column.label is case.label for column in described)


def test_columns_of_numbers_and_of_shares():
    population, function, _ = (columns.of_task(case) for case in CASES)
    assert {name: column.tolist()[0] for name, column in population.items()} == {
        "population_true": 1,
        "population_pred": 2,
        "population_low": 1,
        "population_high": 3,
        "population_unlike": False,
    }
    assert list(function)[:4] == [
        "function_true_water", "function_true_residential",
        "function_true_class", "function_pred_water",
    ]  # fmt: skip
    assert function["function_pred_residential"].dtype == np.float32
    assert function["function_pred_residential"][0] == np.float32(0.7)
    assert function["function_high_residential"][0] == np.float32(1.7)


def test_the_winning_class_is_a_name_and_empty_where_unknown():
    _, function, kind = (columns.of_task(case) for case in CASES)
    assert function["function_true_class"].tolist() == ["residential", None, "water"]
    assert function["function_pred_class"].tolist() == ["residential", "water", "water"]
    assert kind["kind_true_class"].tolist() == ["old", "new", None]
    assert kind["kind_pred_class"].tolist() == ["new", "old", "old"]
    assert not any(name.startswith(("kind_low", "kind_high")) for name in kind)


def test_a_class_called_class_is_refused():
    label = Label("share", "1", classes=("class", "water"))
    with pytest.raises(InputError, match="label use: a class is called 'class'"):
        columns.of_task(mapped("use", label, [[0, 1]], [[0, 1]]))


def write(path, cases):
    x = 345_000 + 100.0 * np.arange(3)
    writers.write_embeddings(
        path,
        region_ids=["a", "b", "c"],
        geometry_wkb=list(shapely.to_wkb(shapely.box(x, 0, x + 100, 100))),
        crs="EPSG:32651",
        embeddings=np.ones((3, 4), np.float32),
        columns={k: v for case in cases for k, v in columns.of_task(case).items()}
        | {"cluster_of_2": np.zeros(3, np.int32)},
        metadata={},
    )


def test_the_dictionary_has_a_row_a_column(tmp_path):
    path = tmp_path / "embeddings.parquet"
    write(path, CASES)
    described = [columns.about_clusters(2)]
    for case in CASES:
        described += columns.about_task(case.task, case.label, 0.9)
    written = columns.write_dictionary(path, described)
    with written.open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    names = columns.parquet.read_schema(path).names
    assert written.name == "columns.csv" and list(rows) == names
    assert rows["population_low"] == {
        "name": "population_low",
        "type": "float32",
        "unit": "persons",
        "about": "Lower limit of the 90% interval of the predicted population.",
        "label": "population",
        "year": "2020",
        "source": "'=census",  # no spreadsheet takes it for a formula
        "licence": "CC0-1.0",
    }
    assert rows["embedding"]["type"] == "4 float32"
    assert rows["bbox"]["type"].startswith("xmin float64, ymin")
    assert rows["function_pred_class"]["type"] == "text"
    assert rows["kind_pred_old"]["about"] == "Predicted probability of old (kind)."
    assert rows["cluster_of_2"]["type"] == "int32"
    assert all(row["about"].endswith(".") for row in rows.values())
