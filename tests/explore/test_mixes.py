"""Mixes and contributions: the definitions in NumPy, and sums that add up."""

import numpy as np
import pytest
from sklearn import linear_model

from tests.explore.node import NodeError, as_map

C, P = 5, 7


def make_city(n=60, seed=0, empty=(0, 7)):
    """Counts of categories, and POI rows that nearly follow from them."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.8, size=(n, C)).astype(int)
    counts[list(empty)] = 0
    start, category, number = [0], [], []
    for row in counts:
        held = np.flatnonzero(row)
        category += held.tolist()
        number += row[held].tolist()
        start.append(len(category))
    logs = np.log1p(np.column_stack([counts, counts.sum(axis=1)]))
    poi = logs @ rng.normal(size=(C + 1, P)) + 0.1 * rng.normal(size=(n, P)) + 0.3
    image = poi + rng.normal(size=(n, P))
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (poi, image)]
    city = {
        "n": n,
        "categories": [f"<b>{i}</b>" for i in range(C)],
        "blocks": (np.arange(n) // 3).astype(np.int32),
        "pois": {
            "start": np.array(start, np.uint32),
            "category": np.array(category, np.uint16),
            "count": np.array(number, np.uint16),
        },
        "projections": {
            "p": P,
            "poi": rows[0].astype(np.float32),
            "image": rows[1].astype(np.float32),
        },
    }
    return city, counts, logs


def test_a_picture_suggests_what_the_sets_hold_that_fit_it(node):
    city, counts, _ = make_city()
    poi, image = city["projections"]["poi"], city["projections"]["image"]
    found = node("mixes", "poisOfPicture", city, 4, 10)
    allowed = np.flatnonzero((counts.sum(axis=1) > 0) & (np.arange(60) != 4))
    cosine = poi[allowed].astype(float) @ image[4]
    wanted = allowed[np.argsort(-cosine)][:10]
    assert found["regions"] == wanted.tolist()
    np.testing.assert_allclose(found["cosine"], np.sort(cosine)[::-1][:10], rtol=1e-5)
    present = counts > 0
    everywhere = present[counts.sum(axis=1) > 0].mean(axis=0)
    for row in found["rows"]:
        k = row["category"]
        sets = present[wanted, k].sum()
        assert row["sets"] == sets and row["share"] == pytest.approx(sets / 10)
        assert row["cityShare"] == pytest.approx(everywhere[k])
        assert row["mean"] == pytest.approx(counts[wanted, k].mean())
        lift = (sets + 5 * everywhere[k]) / 15 / everywhere[k]
        assert row["lift"] == pytest.approx(lift)
    lifts = [row["lift"] for row in found["rows"]]
    assert lifts == sorted(lifts, reverse=True)
    assert {row["category"] for row in found["rows"]} == set(
        np.flatnonzero(present[wanted].any(axis=0)).tolist()
    )


def test_the_map_from_counts_is_a_ridge_and_says_how_good_it_is(node):
    city, counts, logs = make_city(n=200)
    truth = city["projections"]["poi"].astype(float)
    found = node("mixes", "fitCounts", city)
    held = counts.sum(axis=1) > 0
    z = (logs - logs[held].mean(axis=0)) / logs[held].std(axis=0)
    model = linear_model.Ridge(alpha=found["strength"]).fit(z[held], truth[held])
    lines = found["lines"].reshape(P, C + 1)
    np.testing.assert_allclose(
        logs @ lines.T + found["bias"], model.predict(z), atol=1e-8
    )
    assert 0.5 < found["r2"] < 0.999 and 0.8 < found["cosine"] <= 1
    assert found["regions"] == held.sum()


def test_counts_that_say_nothing_are_told_to_say_nothing(node):
    city, _, _ = make_city(n=120)
    noise = np.random.default_rng(0).normal(size=(120, P)).astype(np.float32)
    city["projections"]["poi"] = noise
    assert node("mixes", "fitCounts", city)["r2"] < 0.1


def test_a_mix_finds_the_pictures_nearest_to_where_it_lies(node):
    city, _, _ = make_city()
    found = node("mixes", "fitCounts", city)
    mix = as_map([(1, 2), (4, 3)])
    vector = node("mixes", "mixVector", found, mix)
    logs = np.log1p([0, 2, 0, 0, 3, 5])
    wanted = found["lines"].reshape(P, C + 1) @ logs + found["bias"]
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), rtol=1e-9)
    pictures = node("mixes", "picturesOfMix", city, found, mix, 6)
    cosine = city["projections"]["image"].astype(float) @ vector
    assert pictures["regions"] == np.argsort(-cosine)[:6].tolist()
    assert node("mixes", "picturesAt", city, vector, 6) == pictures


def test_a_mix_finds_the_regions_that_hold_its_like(node):
    city, counts, _ = make_city()
    found = node("mixes", "regionsOfMix", city, as_map([(0, 1), (3, 4)]), 8)
    logs, wanted = np.log1p(counts), np.log1p([1, 0, 0, 4, 0])
    length = np.linalg.norm(logs, axis=1) * np.linalg.norm(wanted)
    likeness = logs @ wanted / np.where(length > 0, length, 1)
    np.testing.assert_allclose(found["likeness"], np.sort(likeness)[::-1][:8])
    assert node("mixes", "regionsOfMix", city, as_map([]), 8)["regions"] == []


def test_a_city_without_pois_or_without_a_shared_space_says_so(node):
    city, _, _ = make_city(n=12, empty=range(12))
    with pytest.raises(NodeError, match="fewer than two regions have POIs"):
        node("mixes", "fitCounts", city)
    assert node("mixes", "poisOfPicture", city, 3, 5)["rows"] == []
    with pytest.raises(NodeError, match="no space that they share"):
        node("mixes", "poisOfPicture", {**city, "projections": None}, 3, 5)


GROUPS = [
    {"name": "stage 1", "start": 0, "size": 4},
    {"name": "POI counts", "start": 4, "size": C + 1},
    {"name": "POI set", "start": 4 + C + 1, "size": 2},
]


def make_heads(node, kind):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 12)).astype(np.float32)
    rows = np.arange(0, 50, 2, dtype=np.int32)
    given = {"x": x, "d": 12, "rows": rows, "blocks": np.arange(50, dtype=np.int32)}
    if kind == "number":
        values = np.exp(x[rows, 5] + x[rows, 0])
        return x, node("heads", "fitNumbers", given | {"values": values})
    classes = (x[rows, 5] > 0).astype(int) + (x[rows, 0] > 0.5)
    return x, node("heads", "fitClasses", given | {"classes": classes.tolist(), "k": 4})


def test_parts_of_a_number_add_up_to_the_prediction(node):
    x, head = make_heads(node, "number")
    predicted = node("heads", "predictNumbers", head, x, 50)["value"]
    unit = head["scale"]["unit"]
    for region in (0, 3, 17):
        why = node("why", "whyNumber", head, x, region, GROUPS, C)
        total = why["baseline"] + sum(group["value"] for group in why["groups"])
        assert total == pytest.approx(why["sum"])
        most = head["scale"]["ceiling"]
        value = min(max(unit * np.expm1(total), 0), most)
        assert value == pytest.approx(predicted[region], rel=1e-5)
        counts = [c for c in why["categories"] if c["group"] == "POI counts"]
        assert sum(c["value"] for c in counts) == pytest.approx(
            why["groups"][1]["value"]
        )
        assert sorted(c["category"] for c in counts) == [-1, 0, 1, 2, 3, 4]
        sizes = [abs(c["value"]) for c in why["categories"]]
        assert sizes == sorted(sizes, reverse=True)


def test_parts_of_a_class_add_up_to_its_log_odds(node):
    x, head = make_heads(node, "class")
    probability = node("heads", "predictClasses", head, x, 50)["probability"]
    logs = np.log(probability.reshape(50, 4)[:, :3].astype(float))
    for region in (1, 8):
        for c in range(3):  # no label showed the fourth
            why = node("why", "whyClass", head, x, region, c, GROUPS, C)
            wanted = logs[region, c] - logs[region].mean()
            assert why["sum"] == pytest.approx(wanted, abs=1e-4)


def test_what_a_linear_map_leaves_over_is_said(node):
    rng = np.random.default_rng(3)
    lines, kernel = rng.normal(size=(2, C + 1)), rng.normal(size=2)
    logs, usual = np.abs(rng.normal(size=(2, C + 1)))
    usual[2] = logs[2]
    found = node(
        "why", "throughCounts", {"lines": lines.ravel(), "width": 2},
        kernel, logs, usual, 3.0,
    )  # fmt: skip
    wanted = kernel @ lines * (logs - usual)
    by_category = {row["category"]: row["value"] for row in found["categories"]}
    assert 2 not in by_category
    assert by_category[-1] == pytest.approx(wanted[-1])
    assert found["rest"] == pytest.approx(3.0 - wanted.sum())
