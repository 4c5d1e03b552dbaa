"""Labels of the page: undone and redone, and the same in Python's tables."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from data_prep.labels import tables
from data_prep.labels.settings import LabelSettings
from data_prep.regions.regions import Regions
from mmgr_jax.data.names import one_form
from tests.explore.node import NodeError, as_map

IDS = ["r0000c0000", "r0000c0001", 'a"b', "x,y", "<img src=x>", "7", "é", " last "]
HOSTILE = [
    '<script>alert("1")</script>', "=SUM(A1:A9)", "a,b;c\td", 'say "no"', "line\nbreak",
    "NA", "été", "公园", "'; drop table",
]  # fmt: skip


@pytest.fixture
def city():
    centres = np.linspace(0, 1, 2 * len(IDS))
    return {"ids": IDS, "centres": centres}


def labels_of(kind, values, classes=()):
    return {
        "task": "use",
        "kind": kind,
        "classes": list(classes),
        "unit": "",
        "values": as_map(values.items()),
    }


REGIONS = Regions(
    ids=IDS,
    bounds_m=np.arange(4.0 * len(IDS)).reshape(-1, 4),
    coverage=np.ones(len(IDS)),
    tile_size_px=64,
    tile_size_m=128.0,
)


def in_python(tmp_path, text, **about):
    """A table as `config.labels` reads it."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("utf-8"))
    source = LabelSettings(path=str(path), column="use", id_column="region_id", **about)
    values, _ = tables.extract("use", source, REGIONS, "EPSG:32651")
    return values


def test_numbers_are_read_by_python_and_back(node, city, tmp_path):
    wanted = {0: 1.5, 2: -3e-7, 3: 1e15, 4: 0.1, 5: 123456789.0, 7: 2.0}
    text = node("labels", "toCsv", labels_of("number", wanted), city)
    found = in_python(tmp_path, text, kind="scalar", unit="m")
    known = np.full(len(IDS), np.nan)
    known[list(wanted)] = list(wanted.values())
    np.testing.assert_allclose(found, known, rtol=1e-6)
    back = node("labels", "fromCsv", text, city)
    assert back["labels"]["values"] == wanted and back["labels"]["kind"] == "number"


def test_classes_with_hostile_names_are_read_by_python_and_back(node, city, tmp_path):
    empty = node("labels", "noLabels", "use", "class", {"classes": HOSTILE})
    classes = empty["classes"]
    assert classes == [one_form(name) for name in HOSTILE]
    wanted = {region: len(classes) - 1 - region for region in range(len(IDS))}
    text = node("labels", "toCsv", labels_of("class", wanted, classes), city)
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [row[1] for row in rows[1:]] == [classes[k] for k in wanted.values()]
    found = in_python(tmp_path, text, kind="class", classes=tuple(classes))
    np.testing.assert_array_equal(found, list(wanted.values()))
    back = node("labels", "fromCsv", text, city, {"kind": "class"})
    again = back["labels"]
    assert {region: again["classes"][k] for region, k in again["values"].items()} == {
        region: classes[k] for region, k in wanted.items()
    }


@pytest.mark.parametrize(
    "name",
    ["plain", "  a\u00a0b ", "e\u0301", "\u200bx\ufeff", "\u200djoin\u200d", "a\nb"],
)
def test_names_have_the_form_that_python_gives_them(node, name):
    assert node("labels", "oneForm", name) == one_form(name)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_taken_apart_as_python_does(node, separator, end):
    rows = [["region_id", "use"], ["a\n1", 'b"c'], ["", "x;,\ty"], ["z", ""]]
    stream = io.StringIO(newline="")
    given = {"delimiter": separator, "lineterminator": end}
    csv.writer(stream, quoting=csv.QUOTE_ALL, **given).writerows(rows)
    found = node("labels", "parseCsv", "\ufeff" + stream.getvalue() + end)
    assert [row["cells"] for row in found] == rows


def test_missing_cells_and_unknown_regions_are_counted(node, city):
    text = (
        "region_id,use,lon_deg\nr0000c0000,3,1\nr0000c0001,NA,1\n7,,1\nelsewhere,2,1\n"
    )
    found = node("labels", "fromCsv", text, city)
    assert found["labels"]["values"] == {0: 3}
    assert found["unknown"] == ["elsewhere"] and found["empty"] == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "empty table"),
        ("\n \n", "empty table"),
        ("id,use\n7,1\n", "no id column"),
        ("region_id,a,b\n7,1,2\n", "which column"),
        ("region_id,use\n7\n", "ragged row"),
        ("region_id,use\n7,1,2\n", "ragged row"),
        ('region_id,use\n7,"1\n', "quote"),
        ('region_id,use\n7,"1"2\n', "quote"),
        ("region_id,use\n7,1\n7,2\n", "region twice"),
        ("region_id,use\nq,1\n", "other regions"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_is_wrong(node, city, text, key):
    with pytest.raises(NodeError, match=f"LabelError: {key}"):
        node("labels", "fromCsv", text, city)


def test_what_is_no_number_says_its_line(node, city):
    text = 'region_id,use\n"7",1\né,"1,5"\n'
    with pytest.raises(
        NodeError, match=r'no number: {"line":3,"id":"é","value":"1,5"}'
    ):
        node("labels", "fromCsv", text, city, {"kind": "number"})


@pytest.mark.parametrize(
    ("task", "classes", "key"),
    [
        ("region_id", [], "task name"),
        (" ", [], "task name"),
        ("use", ["a", "a "], "class twice"),
        ("use", ["a", "\u200b"], "class without a name"),
    ],
)
def test_names_that_would_not_be_told_apart_are_refused(node, task, classes, key):
    with pytest.raises(NodeError, match=key):
        node("labels", "noLabels", task, "class", {"classes": classes})


@pytest.mark.parametrize("value", [3, -1, 0.5, float("nan")])
def test_a_label_of_no_class_is_refused(node, value):
    with pytest.raises(NodeError, match="LabelError: label"):
        node("labels", "withLabel", labels_of("class", {}, "ab"), 1, value)


def test_every_step_is_undone_and_redone(node):
    states = [labels_of("number", {})]
    history = node("labels", "historyOf", states[0])
    steps = [([3], 1.5), ([4, 5], 2.0), ([3], None), ([5], 7.0)]
    seen = [{}]
    for regions, value in steps:
        now = dict(history["now"]) | {"values": as_map(seen[-1].items())}
        after = node("labels", "withLabels", now, regions, value)
        seen.append(after["values"])
        history = node("labels", "changed", _sent(history), _sent(after))
    assert seen[-1] == {4: 2.0, 5: 7.0}
    assert node("labels", "redone", _sent(history))["now"]["values"] == seen[-1]
    for wanted in seen[-2::-1]:
        history = node("labels", "undone", _sent(history))
        assert history["now"]["values"] == wanted
    assert node("labels", "undone", _sent(history))["now"]["values"] == {}
    for wanted in seen[1:3]:
        history = node("labels", "redone", _sent(history))
        assert history["now"]["values"] == wanted
    history = node("labels", "changed", _sent(history), labels_of("number", {9: 1.0}))
    assert history["future"] == [] and len(history["past"]) == 3


def _sent(value):
    """Maps come back as dicts with whole numbers; here they are Maps again."""
    if isinstance(value, list):
        return [_sent(item) for item in value]
    if "values" in value:
        return value | {"values": as_map(value["values"].items())}
    return {key: _sent(item) for key, item in value.items()}


def test_arrays_stand_in_order_of_the_regions(node):
    found = node("labels", "asArrays", labels_of("number", {5: 1.0, 2: 3.0}))
    np.testing.assert_array_equal(found["rows"], [2, 5])
    np.testing.assert_array_equal(found["values"], [3.0, 1.0])


def test_pandas_reads_the_table(node, city):
    text = node("labels", "toCsv", labels_of("number", {0: 2.5}), city)
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame.columns) == ["region_id", "use", "lon_deg", "lat_deg"]
