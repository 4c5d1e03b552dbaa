"""The page of a transfer study: a map first, readable for all, names as text."""

import json

import browser as browser_lib
import numpy as np
import pytest

from mmgr_jax.report.page import transfer, transfer_maps
from mmgr_jax.report.transfer_table import OTHERS, OWN

ATTACK = "\"'><script>document.title='run'</script><b>&amp;"
CITIES = ("alba", f"bree {ATTACK}", "cori")
SCORES = {"alba": 0.5, CITIES[1]: 0.2, "cori": 0.7}
METHODS = (
    "all cities both", "never seen image", "never seen both", "statistics and counts",
)  # fmt: skip


def _mean(values):
    cities = {city: [value, value - 0.1, value + 0.1] for city, value in values.items()}
    mean = float(np.mean(list(values.values())))
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "cities": cities}


def _label(kind, unit, headline, classes=()):
    results = {
        labels: {method: _mean(SCORES) for method in METHODS}
        for labels in (OTHERS, OWN)
    }
    difference = {"labels": OTHERS, "method": "never seen both"}
    return {
        "label": {"kind": kind, "unit": unit, "classes": list(classes), "year": 2020},
        "headline": headline,
        "results": results,
        "differences": [
            {**difference, "reference": reference, **_mean(dict.fromkeys(SCORES, 0.2))}
            for reference in ("statistics and counts", "all cities both")
        ],
        "few": {
            "never seen both": {
                "adapted": [
                    {"num_labels": number, **_mean(SCORES)} for number in (5, 25)
                ],
                "own labels alone": [],
            }
        },
        "matrix": {"never seen both": [[0.1, None, 0.3]] * 3},
    }


def _regions(seed):
    rng = np.random.default_rng(seed)
    column, row = (part.ravel() for part in np.meshgrid(np.arange(8), np.arange(6)))
    truth = rng.lognormal(3 + seed, 1, 48).round(2).tolist()
    truth[5] = None
    shares = rng.dirichlet(np.ones(2), 48).round(3).tolist()
    method = "never seen both"
    return {
        "x_m": (column * 100.0).tolist(),
        "y_m": (row * 100.0).tolist(),
        "side_m": 100.0,
        "drawn_of": 48,
        "tasks": {
            "population": {
                "truth": truth,
                "predictions": {method: [1.2 * (value or 3) for value in truth]},
            },
            "function": {"truth": shares, "predictions": {method: shares}},
        },
    }


def content():
    """A study of three cities by hand, one of which has a hostile name."""
    return {
        "schema": 1,
        "created": "2026-11-27T12:00:00+00:00",
        "version": "1",
        "tested": list(CITIES),
        "cities": {
            city: {"num_regions": 48, "num_blocks": 6, "num_categories": 5}
            for city in CITIES
        },
        "encoders": {"all": list(CITIES)},
        "labels": {
            "function": _label("share", "1", "l1", ("a_b", f"c {ATTACK}")),
            "population": _label("count", "persons", "r2_log"),
        },
        "regions": {city: _regions(seed) for seed, city in enumerate(CITIES)},
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "transfer.html"
    text = transfer.render(json.loads(json.dumps(content())))
    path.write_text(text, encoding="utf-8")
    return path


LOOKS = [  # by default each size and each scheme once
    ("desktop", "light"),
    ("phone", "dark"),
    pytest.param("desktop", "dark", marks=pytest.mark.slow),
    pytest.param("phone", "light", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_axe_finds_nothing_serious(browser, path, size, scheme):
    page = browser_lib.opened(browser, path, size=size, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser_lib.severe(page) == {}
    width, _ = browser_lib.SIZES[size]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_the_first_screen_of_a_phone_shows_the_map(browser, path):
    page = browser_lib.opened(browser, path, size="phone")
    width, height = browser_lib.SIZES["phone"]
    drawn = page.locator("svg.map").first.bounding_box()
    assert drawn["width"] > 0.6 * width and drawn["y"] + drawn["height"] < height
    page.context.close()


def test_the_map_is_of_persons_in_the_middle_city_and_says_what_it_is(browser, path):
    page = browser_lib.opened(browser, path)
    front = page.locator(".front").inner_text()
    assert "alba: population, prediction, by a model of the other cities" in front
    assert "in the middle of 3 tested cities" in front
    assert "a model of 2 other cities predicts from imagery and points" in front
    assert "has seen no picture, no POI and no label of alba" in front
    assert "Half of the regions are off by less than" in front
    assert page.locator("svg.map").count() == 1 + 2 * 2 * 3
    page.context.close()


def test_names_do_not_run(browser, path):
    page = browser_lib.opened(browser, path)
    assert page.title() == transfer.TITLE
    assert page.evaluate("document.scripts.length") == 0
    assert page.locator("main b").count() == 0
    assert f"bree {ATTACK}" in page.locator("#cities + div").inner_text()
    page.context.close()


def test_colours_mean_the_same_in_all_cities():
    whole = content()
    drawn = transfer_maps.of_label("population", whole)
    text = "".join(map(str, drawn))
    legends = text.split('<ul class="legend">')[1:]
    first = legends[0].partition("</ul>")[0].replace("<li>no label</li>", "")
    assert len(legends) == 6 and first
    layers = [
        transfer_maps._layers(
            "population", whole["labels"]["population"], whole["regions"], city,
            "never seen both",
        )
        for city in CITIES
    ]  # fmt: skip
    edges = {layer.legend.edges for pair in layers for layer in pair}
    assert len(edges) == 1 and len(next(iter(edges))) > 3


def test_the_city_in_the_middle_and_the_worse_of_two():
    one = _label("count", "persons", "r2_log")
    middle = transfer_maps._middle
    assert middle(one, "never seen both", list(CITIES)) == "alba"
    assert middle(one, "never seen both", ["alba", "cori"]) == "alba"
    lower = _label("share", "1", "l1")
    assert middle(lower, "never seen both", ["alba", "cori"]) == "cori"


@pytest.mark.parametrize("without", ["regions", "method"])
def test_without_places_there_is_no_map(without):
    whole = content()
    if without == "regions":
        whole["regions"] = {}
    else:
        for one in whole["labels"].values():
            for role in (OTHERS, OWN):
                one["results"][role] = {"mean": _mean(SCORES)}
            one["differences"], one["few"] = [], {}
    text = transfer.render(whole)
    assert 'class="front"' not in text and 'class="map"' not in text
    assert "How good, label by label" in text
