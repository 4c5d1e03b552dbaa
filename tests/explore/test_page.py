"""The page in Chromium, from the disk, with the network off."""

import io

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe
from sklearn.metrics.pairwise import cosine_similarity

from mmgr_jax.explore import content, document, vectors
from mmgr_jax.geo import panels
from tests.explore import browser as browser_lib
from tests.explore import small_explored

REGION = 11


def test_it_opens_from_the_disk_and_asks_nobody(opened, path):
    assert opened.asked == [path.as_uri()]
    assert opened.faults == []
    assert "40 regions" in opened.text("#facts")


def test_the_same_city_gives_the_same_page(city):
    pages = ["".join(document.write(content.of(city))) for _ in range(2)]
    assert pages[0] == pages[1]


def test_names_are_text(opened):
    marks = opened.run(
        """() => [document.querySelectorAll("img, b, iframe, object").length,
        document.querySelectorAll("body script").length, document.title]"""
    )
    assert marks[:2] == [0, 2] and marks[2].startswith("small <img")
    assert small_explored.HOSTILE in opened.text("h1")
    assert "census <img" in opened.text("#origins")
    opened.run("explored.showTab('tab-about')")
    assert small_explored.HOSTILE in opened.text("#panel-about")
    options = opened.page.locator("#filter-category option").all_text_contents()
    assert "</script><script>document.title=2</script>" in options
    assert r"shop\u202e\u2028" in options


def test_a_click_chooses_a_region_and_finds_what_is_similar(visit, city):
    browser_lib.click(visit, REGION)
    assert city.region_ids[REGION] in visit.text("#card h2")
    assert f"{small_explored.HOSTILE}," in visit.text(
        "#card"
    ) or "forest" in visit.text("#card")
    visit.page.click("#card button.main")
    state = browser_lib.search(visit)
    assert state["positives"] == [REGION] and len(state["order"]) == 20
    exact = vectors.Standardised.of(city.features)
    rows = exact.rows(np.arange(40)) * exact.weights
    cosine = cosine_similarity(rows[[REGION]], rows)[0]
    np.testing.assert_allclose(state["cosine"], cosine, atol=0.02)
    cosine[REGION] = -2
    best = np.argsort(-cosine)[:20]
    assert len(set(best) & set(state["order"])) >= 19
    items = visit.page.locator("#results li").evaluate_all(
        "(all) => all.map((item) => item.dataset.region)"
    )
    assert items == [city.region_ids[i] for i in state["order"]]
    assert visit.page.locator("#results canvas.tile").count() == 20


def test_examples_and_counterexamples(visit, city):
    exact = vectors.Standardised.of(city.features)
    rows = exact.rows(np.arange(40)) * exact.weights
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    browser_lib.click(visit, 3, ["Shift"])
    browser_lib.click(visit, 12, ["Shift"])
    browser_lib.click(visit, 30, ["Alt"])
    state = browser_lib.search(visit)
    assert (state["positives"], state["negatives"]) == ([3, 12], [30])
    wanted = rows[[3, 12]].mean(axis=0) - rows[30] / 2
    cosine = rows @ wanted / np.linalg.norm(wanted)
    np.testing.assert_allclose(state["cosine"], cosine, atol=0.03)
    assert not {3, 12, 30} & set(state["order"])
    visit.page.click("#negatives button")
    visit.page.click("#positives li:first-child button")
    state = browser_lib.search(visit)
    assert (state["positives"], state["negatives"]) == ([12], [])
    visit.page.click("#clear")
    assert browser_lib.search(visit)["order"] == []
    assert visit.page.is_disabled("#export-csv")


def test_filters_by_category_number_class_and_sight(visit, city):
    visit.run("async () => { await explored.act('Enter', 11); }")
    visit.page.click("#filters summary")
    visit.page.select_option("#filter-category", "2")
    pois = city.pois
    having = {
        region
        for region in range(40)
        if 2 in pois.category[pois.start[region] : pois.start[region + 1]]
    }
    assert set(browser_lib.search(visit)["order"]) <= having - {REGION} and having
    visit.page.select_option("#filter-category", "")
    visit.page.select_option("#filter-task", "truth/population")
    median = float(np.median(city.tasks["population"].truth))
    visit.page.fill("#filter-low", str(median))
    visit.page.press("#filter-low", "Enter")
    high = set(np.flatnonzero(city.tasks["population"].truth >= median)) - {REGION}
    assert set(browser_lib.search(visit)["order"]) == high
    visit.page.select_option("#filter-task", "prediction/function")
    visit.page.select_option("#filter-class", "2")
    largest = city.tasks["function"].prediction.value.argmax(axis=1)
    assert set(browser_lib.search(visit)["order"]) == set(
        np.flatnonzero(largest == 2)
    ) - {REGION}
    visit.page.select_option("#filter-task", "")
    visit.run("() => { explored.map.map.jumpTo({ zoom: 19 }); }")
    visit.page.check("#filter-sight")
    assert 0 < len(browser_lib.search(visit)["order"]) < 20
    visit.page.click("#filters summary")


def test_keys_go_from_region_to_region(visit, city):
    visit.page.focus("#map canvas")
    visit.page.keyboard.press("ArrowUp")  # the one in the middle of the map
    first = visit.run("explored.selected")
    assert first in (19, 20, 11, 12)
    for key, step in [("ArrowRight", 1), ("ArrowDown", 8), ("ArrowLeft", -1)]:
        visit.page.keyboard.press(key)
        assert visit.run("explored.selected") == first + step
        first += step
    said = visit.run("document.getElementById('said').textContent")
    assert said.startswith(city.region_ids[first])
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("ArrowUp")
    visit.page.keyboard.press("-")
    state = browser_lib.search(visit)
    assert (state["positives"], state["negatives"]) == ([first], [first - 8])
    zoom = visit.run("explored.map.map.getZoom()")
    visit.page.keyboard.press("PageUp")
    assert visit.run("explored.map.map.getZoom()") == pytest.approx(zoom + 1)


def test_layers_have_the_colours_of_the_printed_maps(visit, city):
    task = city.tasks["population"]
    value = task.prediction.value
    breaks = panels.Breaks.of(task.truth)
    truth, prediction, error = panels.numbers(task.truth, value, task.label, breaks)
    for part, panel in [("truth", truth), ("prediction", prediction), ("error", error)]:
        own = browser_lib.show(visit, f"task/{part}/population")
        expected = np.round(panel.cmap(panel.norm(panel.values)) * 255)
        painted = np.array(own["colours"]).reshape(40, 4)
        np.testing.assert_allclose(painted, expected, atol=1)
        hatched = 2 if part == "prediction" else 0
        assert np.count_nonzero(own["hatch"]) == hatched
        assert len(own["legend"]["entries"]) == panel.cmap.N + bool(hatched)
        assert own["legend"]["unit"] == "<b>persons</b>"


def test_classes_have_the_colours_of_the_printed_maps(visit, city):
    task = city.tasks["zone"]
    truth = panels.certain(task.truth.astype(float), 3)
    shown = panels.shares(truth, task.prediction.value, task.label)
    for part, panel in zip(("truth", "prediction", "error"), shown, strict=True):
        own = browser_lib.show(visit, f"task/{part}/zone")
        known = np.isfinite(panel.values)
        expected = np.round(panel.cmap(panel.norm(panel.values)) * 255)
        painted = np.array(own["colours"]).reshape(40, 4)
        np.testing.assert_allclose(painted[known], expected[known], atol=1)
        np.testing.assert_array_equal(np.array(own["hatch"]) == 2, ~known)
    assert visit.text("#legend").startswith("zone: Error (distance of the prob")


def test_every_layer_shows_something_and_has_a_legend(visit):
    layers = visit.page.locator("#layer option").evaluate_all(
        "(all) => all.map((item) => item.value)"
    )
    assert len(layers) > 12
    for layer in set(layers) - {"city/none"}:
        own = browser_lib.show(visit, layer)
        painted = np.array(own["colours"]).reshape(40, 4)[:, 3] > 0
        assert (painted | (np.array(own["hatch"]) > 0)).all(), layer
        assert own["legend"]["title"], layer
    assert browser_lib.show(visit, "city/none")["legend"] is None
    visit.run("async () => { await explored.act('Enter', 11); }")
    browser_lib.search(visit)
    own = browser_lib.show(visit, "page/similarity")
    assert np.array(own["colours"]).reshape(40, 4)[REGION, 3] == 255


def test_the_map_is_drawn_where_the_regions_lie(visit):
    own = browser_lib.show(visit, "city/clusters")
    visit.run(
        """async () => { explored.map.setOpacity(1); explored.map.whole();
        await explored.map.map.once("idle"); }"""
    )
    drawn = visit.run(
        """() => { const { city, map } = explored; const canvas = map.map.getCanvas();
        const flat = document.createElement("canvas").getContext("2d",
          { willReadFrequently: true });
        flat.canvas.width = canvas.width;
        flat.canvas.height = canvas.height;
        flat.drawImage(canvas, 0, 0); const ratio = canvas.width / canvas.clientWidth;
        return Array.from({ length: city.n }, (_, i) => { const { x, y } =
          map.map.project([city.centres[2 * i], city.centres[2 * i + 1]]);
          return [...flat.getImageData(x * ratio, y * ratio, 1, 1).data]; }); }"""
    )
    np.testing.assert_allclose(drawn, np.array(own["colours"]).reshape(40, 4), atol=2)
    visit.run("() => { document.getElementById('opacity').oninput(); }")


def test_lists_are_saved_as_tables_and_maps_read_them(visit, city, tmp_path):
    visit.run("async () => { await explored.act('Enter', 11); }")
    order = browser_lib.search(visit)["order"]
    saved = {}
    for kind in ("csv", "geojson"):
        with visit.page.expect_download() as download:
            visit.page.click(f"#export-{kind}")
        saved[kind] = tmp_path / f"similar.{kind}"
        download.value.save_as(saved[kind])
    table = pd.read_csv(io.StringIO(saved["csv"].read_text(encoding="utf-8")))
    assert table["region_id"].tolist() == [city.region_ids[i] for i in order]
    task = city.tasks["population"]
    np.testing.assert_allclose(table["population_truth"], task.truth[order], rtol=1e-5)
    classes = np.array(task and city.tasks["function"].label.classes)
    largest = classes[city.tasks["function"].truth[order].argmax(axis=1)]
    assert table["function_truth"].tolist() == largest.tolist()
    assert not table["pois"].dropna().str.startswith("=").any()
    frame = gpd.read_file(saved["geojson"])
    own = frame.to_crs(city.manifest.crs).geometry.to_numpy()
    expected = shapely.from_wkb(np.array(city.geometry_wkb, object)[order])
    assert (shapely.area(shapely.symmetric_difference(own, expected)) < 3).all()
    assert frame["region_id"].tolist() == table["region_id"].tolist()


def test_tabs_follow_arrow_keys(visit):
    visit.page.focus("#tab-layers")
    visit.page.keyboard.press("ArrowLeft")
    assert visit.page.is_visible("#panel-about")
    assert visit.page.get_attribute("#tab-about", "aria-selected") == "true"
    assert not visit.page.is_visible("#panel-layers")
    visit.page.keyboard.press("Home")
    assert visit.page.is_visible("#panel-layers")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screen_readers_phones_and_printers(browser, path, scheme):
    size = browser_lib.PHONE if scheme == "dark" else browser_lib.DESKTOP
    visit = browser_lib.Visit(browser, path, size=size, scheme=scheme)
    visit.run("async () => { explored.select(11); await explored.act('Enter', 11); }")
    visit.run("async () => { await explored.act('-', 30); }")
    browser_lib.begin(visit)
    visit.run(
        """async () => { explored.showTab("tab-mix"); await explored.mix.suggested;
        for (const panel of document.querySelectorAll("[role=tabpanel], details")) {
          panel.hidden = false; panel.open = true; } }"""
    )  # all of them at once, as nobody sees them
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(visit.page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert visit.run("document.documentElement.scrollWidth") <= size["width"]
    box = visit.page.locator("#origins").bounding_box()
    assert box["y"] + box["height"] <= size["height"] + 1 and box["height"] > 10
    visit.page.emulate_media(media="print")
    assert visit.page.is_visible("#map canvas") and visit.page.is_visible("#origins")
    assert not visit.page.is_visible("#tabs")
    assert visit.faults == []
    visit.close()


def test_without_webgl_lists_still_work(browser, path):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.add_init_script(
        "HTMLCanvasElement.prototype.getContext = ((own) => function (kind, ...rest) {"
        " return kind.startsWith('webgl') ? null : own.call(this, kind, ...rest); })"
        "(HTMLCanvasElement.prototype.getContext);"
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    assert "WebGL" in page.inner_text("#map")
    page.evaluate(
        "async () => { explored.select(11); explored.act('Enter', 11); "
        "await explored.similar.searched; }"
    )
    page.wait_for_function("document.querySelectorAll('#results li').length === 20")
    context.close()
