"""Two years of a city on its page: layers, both pictures, the list, tables."""

import dataclasses
import io

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from small_records import write_records

from mmgr_jax.data.source import RecordSource
from mmgr_jax.evaluation import change, pairs, two_years
from mmgr_jax.evaluation.certainty import discoveries
from mmgr_jax.explore import change as change_page
from mmgr_jax.explore import content, document
from tests.explore import browser as browser_lib
from tests.explore import small_explored

ALONE, CHANGED, NAMED = 39, [5, 17, 30], 2


@pytest.fixture(scope="module")
def two(city, tmp_path_factory):
    """The city with an earlier year whose tiles are dark, and three changes."""
    folder = tmp_path_factory.mktemp("before")
    write_records(folder, light=lambda tile: tile // 4, labels=small_explored.LABELS)
    before = RecordSource(folder)
    rng = np.random.default_rng(0)
    p_value = rng.uniform(0.2, 1, 39)
    p_value[CHANGED] = [2e-4, 1e-4, 4e-4]
    p_value[NAMED] = np.nan
    factor = np.exp(rng.normal(0, 0.1, 39))
    factor[CHANGED] = [3.5, 2.4, 1.9]
    same = np.arange(39)
    matched = pairs.Pairs(same, same, 39, (1, 1))
    measured = change.Change(factor, p_value, discoveries.adjusted(p_value), "half")
    outlines = list(city.geometry_wkb)
    since = two_years.TwoYears(before, outlines, matched, measured, 0)
    return dataclasses.replace(city, since=since)


@pytest.fixture(scope="module")
def page_path(two, tmp_path_factory):
    made = content.of(two)
    made.about["change"]["name"] = f"before {small_explored.HOSTILE}"
    path = tmp_path_factory.mktemp("page") / "two.html"
    path.write_text("".join(document.write(made)), encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="module")
def visit(browser, page_path):
    visit = browser_lib.Visit(browser, page_path)
    yield visit
    assert visit.faults == []
    visit.close()


def test_the_surest_changes_come_first_with_both_pictures(visit, two):
    visit.page.click("#tab-change")
    assert "3 of 39 regions changed" in visit.text("#change-said")
    items = visit.page.locator("#changes li").evaluate_all(
        "(all) => all.map((item) => item.dataset.region)"
    )
    assert items[:3] == [two.region_ids[i] for i in (17, 5, 30)] and len(items) == 20
    assert visit.page.locator("#changes li:first-child canvas").count() == 2
    means = visit.page.locator("#changes li:first-child canvas").evaluate_all(
        """(all) => all.map((canvas) => { const { data } = canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height);
        return data.reduce((sum, value) => sum + value, 0) / data.length; })"""
    )
    assert means[0] < means[1] - 20  # the earlier one is dark
    assert "1 earlier and 1 present" in visit.text("#panel-change")
    visit.page.select_option("#change-level", "0.01")
    assert "3 of 39" in visit.text("#change-said")
    visit.page.select_option("#change-level", "0.05")


def test_layers_say_what_changed(visit):
    own = browser_lib.show(visit, "change/found")
    colours = np.array(own["colours"]).reshape(40, 4)
    changed = (colours == [213, 94, 0, 255]).all(axis=1)
    assert np.flatnonzero(changed).tolist() == CHANGED
    assert np.flatnonzero(own["hatch"]).tolist() == [ALONE]
    assert "5 %" in own["legend"]["title"]
    own = browser_lib.show(visit, "change/factor")
    assert len(own["legend"]["entries"]) == len(change_page.BREAKS) + 2
    assert own["legend"]["entries"][-1]["text"] == "not known"


def test_the_card_shows_before_and_now(visit, two):
    for region, words in [
        (CHANGED[0], "changed: 3.5 times"),
        (1, "not shown to have changed"),
        (NAMED, "named as unchanged"),
        (ALONE, "no region here"),
    ]:
        visit.run("(region) => explored.select(region)", region)
        assert words in visit.text("#card-change")
        tiles = visit.page.locator("#card-change canvas").count()
        assert tiles == (0 if region == ALONE else 2)


def test_names_are_text(visit):
    visit.run("explored.showTab('tab-change')")
    assert visit.run("document.querySelectorAll('img, b, iframe').length") == 0
    assert small_explored.HOSTILE in visit.text("#panel-change")


def test_the_list_is_saved(visit, two, tmp_path):
    visit.run("explored.showTab('tab-change')")
    with visit.page.expect_download() as download:
        visit.page.click("#change-csv")
    download.value.save_as(tmp_path / "change.csv")
    table = pd.read_csv(io.StringIO((tmp_path / "change.csv").read_text("utf-8")))
    assert table["region_id"][:3].tolist() == [two.region_ids[i] for i in (17, 5, 30)]
    np.testing.assert_allclose(table["change_factor"][:3], [2.4, 3.5, 1.9], rtol=1e-3)
    assert {"change_p_value", "change_q_value"} <= set(table) and "cosine" not in table


def test_other_programs_read_a_table(two, tmp_path):
    path = tmp_path / "change.parquet"
    change_page.write_table(path, two)
    frame = gpd.read_parquet(path)
    assert np.flatnonzero(frame["changed_at_0.05"]).tolist() == CHANGED
    assert np.isnan(frame["change_factor"][ALONE]) and len(frame) == 40


@pytest.mark.parametrize(  # test_page.py has both
    "scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)]
)
def test_screen_readers_and_phones(browser, page_path, scheme):
    size = browser_lib.PHONE if scheme == "dark" else browser_lib.DESKTOP
    visit = browser_lib.Visit(browser, page_path, size=size, scheme=scheme)
    visit.run("() => { explored.select(5); explored.showTab('tab-change'); }")
    visit.run("() => { document.getElementById('card-change').open = true; }")
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(visit.page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert visit.run("document.documentElement.scrollWidth") <= size["width"]
    visit.close()
