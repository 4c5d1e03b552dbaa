"""The page in Chromium, from the disk, with the network off."""

import io

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe
from sklearn.metrics.pairwise import cosine_similarity
from small_records import write_records

from mmgr_jax.explore import content, document, vectors
from mmgr_jax.geo import panels
from tests.explore import browser as browser_lib
from tests.explore import small_explored

REGION = 11


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A city whose names are markup, formulas and marks that turn writing around."""
    folder = tmp_path_factory.mktemp("records")
    write_records(
        folder, labels=small_explored.LABELS, categories=small_explored.CATEGORIES
    )
    return small_explored.explored(folder)


@pytest.fixture(scope="module")
def path(city, tmp_path_factory):
    """Its page."""
    made = content.of(city)
    hostile = f"small {small_explored.HOSTILE}"
    made.about["name"] = hostile  # a manifest would refuse it
    path = tmp_path_factory.mktemp("page") / "explore.html"
    path.write_text("".join(document.write(made)), encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="module")
def browser():
    with browser_lib.started() as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(browser, path):
    visit = browser_lib.Visit(browser, path)
    yield visit
    assert visit.faults == []
    visit.close()


@pytest.fixture
def visit(opened):
    """The page as it is at first: nothing is chosen."""
    opened.run(
        """async () => { await explored.similar.clear(); explored.select(-1);
        explored.map.whole(); for (const id of ["filter-category", "filter-task"]) {
        const field = document.getElementById(id); field.value = "";
        field.onchange(); } document.getElementById("filter-sight").checked = false;
        if (explored.label.state.history) explored.label.end();
        explored.showTab("tab-layers"); }"""
    )
    return opened


def _click(visit, region, modifiers=()):
    """Clicks on the middle of a region."""
    x, y = visit.run(
        """(region) => { const { city, map } = explored;
        const place = [city.centres[2 * region], city.centres[2 * region + 1]];
        const { x, y } = map.map.project(place);
        const box = map.map.getCanvas().getBoundingClientRect();
        return [box.left + x, box.top + y]; }""",
        region,
    )
    for modifier in modifiers:
        visit.page.keyboard.down(modifier)
    visit.page.mouse.click(x, y)
    for modifier in modifiers:
        visit.page.keyboard.up(modifier)


def _search(visit):
    return visit.run(
        """async () => { await explored.similar.searched;
        const { state } = explored.similar;
        return { ...state, cosine: [...(state.cosine || [])] }; }"""
    )


def _show(visit, layer):
    visit.run(
        """(layer) => { const field = document.getElementById("layer");
        field.value = layer; field.oninput(); }""",
        layer,
    )
    return visit.run(
        """() => ({ colours: [...explored.painted.colours],
        hatch: [...explored.painted.hatch], legend: explored.painted.legend })"""
    )


def test_it_opens_from_the_disk_and_asks_nobody(opened, path):
    assert opened.asked == [path.as_uri()]
    assert opened.faults == []
    assert "40 regions" in opened.text("#facts")


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
    _click(visit, REGION)
    assert city.region_ids[REGION] in visit.text("#card h2")
    assert f"{small_explored.HOSTILE}," in visit.text(
        "#card"
    ) or "forest" in visit.text("#card")
    visit.page.click("#card button.main")
    state = _search(visit)
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
    _click(visit, 3, ["Shift"])
    _click(visit, 12, ["Shift"])
    _click(visit, 30, ["Alt"])
    state = _search(visit)
    assert (state["positives"], state["negatives"]) == ([3, 12], [30])
    wanted = rows[[3, 12]].mean(axis=0) - rows[30] / 2
    cosine = rows @ wanted / np.linalg.norm(wanted)
    np.testing.assert_allclose(state["cosine"], cosine, atol=0.03)
    assert not {3, 12, 30} & set(state["order"])
    visit.page.click("#negatives button")
    visit.page.click("#positives li:first-child button")
    state = _search(visit)
    assert (state["positives"], state["negatives"]) == ([12], [])
    visit.page.click("#clear")
    assert _search(visit)["order"] == []
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
    assert set(_search(visit)["order"]) <= having - {REGION} and having
    visit.page.select_option("#filter-category", "")
    visit.page.select_option("#filter-task", "truth/population")
    median = float(np.median(city.tasks["population"].truth))
    visit.page.fill("#filter-low", str(median))
    visit.page.press("#filter-low", "Enter")
    high = set(np.flatnonzero(city.tasks["population"].truth >= median)) - {REGION}
    assert set(_search(visit)["order"]) == high
    visit.page.select_option("#filter-task", "prediction/function")
    visit.page.select_option("#filter-class", "2")
    largest = city.tasks["function"].prediction.value.argmax(axis=1)
    assert set(_search(visit)["order"]) == set(np.flatnonzero(largest == 2)) - {REGION}
    visit.page.select_option("#filter-task", "")
    visit.run("() => { explored.map.map.jumpTo({ zoom: 19 }); }")
    visit.page.check("#filter-sight")
    assert 0 < len(_search(visit)["order"]) < 20
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
    state = _search(visit)
    assert (state["positives"], state["negatives"]) == ([first], [first - 8])
    zoom = visit.run("explored.map.map.getZoom()")
    visit.page.keyboard.press("PageUp")
    assert visit.run("explored.map.map.getZoom()") == pytest.approx(zoom + 1)


def test_layers_have_the_colours_of_the_printed_maps(visit, city):
    task = city.tasks["population"]
    value = task.prediction.value
    truth, prediction, error = panels.numbers(task.truth, value, task.label)
    for part, panel in [("truth", truth), ("prediction", prediction), ("error", error)]:
        own = _show(visit, f"task/{part}/population")
        expected = np.round(panel.cmap(panel.norm(panel.values)) * 255)
        painted = np.array(own["colours"]).reshape(40, 4)
        np.testing.assert_allclose(painted, expected, atol=1)
        hatched = 2 if part == "prediction" else 0
        assert np.count_nonzero(own["hatch"]) == hatched
        assert len(own["legend"]["entries"]) == panel.cmap.N + bool(hatched)
        assert own["legend"]["unit"] == "<b>persons</b>"


def test_every_layer_shows_something_and_has_a_legend(visit):
    layers = visit.page.locator("#layer option").evaluate_all(
        "(all) => all.map((item) => item.value)"
    )
    assert len(layers) > 12
    for layer in set(layers) - {"city/none"}:
        own = _show(visit, layer)
        painted = np.array(own["colours"]).reshape(40, 4)[:, 3] > 0
        assert (painted | (np.array(own["hatch"]) > 0)).all(), layer
        assert own["legend"]["title"], layer
    assert _show(visit, "city/none")["legend"] is None
    visit.run("async () => { await explored.act('Enter', 11); }")
    own = _show(visit, "page/similarity")
    assert np.array(own["colours"]).reshape(40, 4)[REGION, 3] == 255


def test_the_map_is_drawn_where_the_regions_lie(visit):
    own = _show(visit, "city/clusters")
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
    order = _search(visit)["order"]
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


def _begin(visit, kind="class", classes="park\nharbour <b>", name="mine"):
    """Begins to label, from nothing."""
    visit.run("() => { explored.label.end(); explored.showTab('tab-label'); }")
    visit.page.fill("#label-name", name)
    visit.page.select_option("#label-kind", kind)
    field = "#label-classes" if kind == "class" else "#label-unit"
    visit.page.fill(field, classes)
    visit.page.click("#label-begin")


def _labels(visit):
    """Region -> class or number, as the page has them once their map is made."""
    return visit.run(
        """async () => { await explored.label.mapped; const now =
        explored.label.state.history.now; return Object.fromEntries(now.values); }"""
    )


def test_labels_by_clicks_keys_and_drawing_become_a_map(visit):
    _begin(visit)
    _click(visit, 0)
    visit.page.check('[name="label-class"][value="1"]')
    _click(visit, 20)
    assert _labels(visit) == {"0": 0, "20": 1}
    layer = visit.run("document.getElementById('layer').value")
    assert layer == "page/label"  # the map shows itself when there is one
    visit.page.focus("#map canvas")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("1")
    assert _labels(visit) == {"0": 0, "20": 1, "21": 0}
    visit.page.keyboard.press("0")
    assert _labels(visit) == {"0": 0, "20": 1}
    visit.page.click("#label-undo")
    assert _labels(visit) == {"0": 0, "20": 1, "21": 0}
    visit.page.keyboard.press("Control+z")
    visit.page.click("#label-redo")
    assert _labels(visit) == {"0": 0, "20": 1, "21": 0}

    visit.page.check('[name="label-class"][value="1"]')
    visit.page.check("#label-brush")
    places = visit.run(
        """() => [32, 33, 34].map((region) => { const { city, map } = explored;
        const { x, y } = map.map.project([city.centres[2 * region],
          city.centres[2 * region + 1]]);
        const box = map.map.getCanvas().getBoundingClientRect();
        return [box.left + x, box.top + y]; })"""
    )
    middle = visit.run("explored.map.map.getCenter().lng")
    visit.page.mouse.move(*places[0])
    visit.page.mouse.down()
    for place in places:
        visit.page.mouse.move(*place, steps=3)
    visit.page.mouse.up()
    drawn = {"32": 1, "33": 1, "34": 1}
    assert _labels(visit) == {"0": 0, "20": 1, "21": 0} | drawn
    assert visit.run("explored.map.map.getCenter().lng") == middle
    visit.page.click("#label-undo")  # one stroke is one step
    assert _labels(visit) == {"0": 0, "20": 1, "21": 0}


def test_the_map_of_labels_is_that_of_a_head_on_the_same_numbers(visit, city):
    truth = city.tasks["population"].truth
    rows = list(range(0, 40, 2))
    _begin(visit, kind="number", classes="persons", name="people")
    for row in rows:
        visit.run(
            "([row, value]) => { explored.label.state.value = value; "
            "explored.label.pick([row]); }",
            [row, float(truth[row])],
        )
    _labels(visit)
    value = visit.run("[...explored.label.state.made.value]")
    whole, scale = vectors.quantised(
        vectors.Standardised.of(city.features).rows(np.arange(40))
    )
    head = small_explored.ridge_of(
        whole * scale[:, None], city.features.weights(), rows, truth[rows],
        strength=visit.run("explored.label.state.made.strength"),
    )  # fmt: skip
    np.testing.assert_allclose(value, head, rtol=1e-3)
    assert "20 labels" in visit.text("#label-quality")
    layers = visit.page.locator("#layer option").evaluate_all(
        "(all) => all.map((item) => item.value)"
    )
    assert "page/label" in layers
    for layer in {"page/label", "page/doubt"} & set(layers):
        assert _show(visit, layer)["legend"]["unit"] == "persons"


def test_labels_are_saved_and_read_back(visit, city, tmp_path):
    _begin(visit, name="=mine")
    for region, value in [(3, 0), (12, 1), (30, 1)]:
        visit.run(
            "([region, value]) => { explored.label.state.value = value; "
            "explored.label.pick([region]); }",
            [region, value],
        )
    before = _labels(visit)
    with visit.page.expect_download() as download:
        visit.page.click("#label-export")
    saved = tmp_path / "labels.csv"
    download.value.save_as(saved)
    table = pd.read_csv(saved)
    assert table["region_id"].tolist() == [city.region_ids[i] for i in (3, 12, 30)]
    assert table["=mine"].tolist() == ["park", "harbour <b>", "harbour <b>"]
    with visit.page.expect_download() as download:
        visit.page.click("#label-export-map")
    frame = gpd.read_file(download.value.path())
    assert len(frame) == 40 and set(frame["=mine_prediction"]) <= set(table["=mine"])

    visit.run("() => { explored.label.end(); }")
    visit.page.set_input_files("#label-file", saved)
    visit.page.wait_for_selector("#label-undo")
    assert _labels(visit) == before
    visit.run("() => { explored.label.end(); }")
    other = tmp_path / "other.csv"
    other.write_text("name,mine\nx,1\n")
    visit.page.set_input_files("#label-file", other)
    visit.page.wait_for_selector(".fault:not(:empty)")
    assert "region_id" in visit.text(".fault")


def test_what_to_label_next_is_unlabelled_and_chosen(visit):
    _begin(visit)
    _click(visit, 5)
    visit.page.click("#label-next")
    visit.page.wait_for_selector("#label-next-list li")
    regions = visit.run("explored.label.state.next")
    assert len(set(regions)) == 5 and 5 not in regions
    assert visit.run("explored.selected") == regions[0]
    visit.page.keyboard.press("Escape")
    visit.run("() => { explored.label.act('2', explored.selected); }")
    assert regions[0] not in visit.run("explored.label.state.next")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screen_readers_phones_and_printers(browser, path, scheme):
    size = browser_lib.PHONE if scheme == "dark" else browser_lib.DESKTOP
    visit = browser_lib.Visit(browser, path, size=size, scheme=scheme)
    visit.run("async () => { explored.select(11); await explored.act('Enter', 11); }")
    visit.run("async () => { await explored.act('-', 30); }")
    for tab in ("layers", "similar", "label", "about"):
        visit.run(f"explored.showTab('tab-{tab}')")
        found = Axe().run(visit.page).response["violations"]
        bad = [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert bad == [], tab
        if tab == "label":
            _begin(visit)
            assert Axe().run(visit.page).violations_count == len(found)
        width = visit.run("document.documentElement.scrollWidth")
        assert width <= size["width"], tab
    box = visit.page.locator("#origins").bounding_box()
    assert box["y"] + box["height"] <= size["height"] + 1 and box["height"] > 10
    visit.page.emulate_media(media="print")
    assert visit.page.is_visible("#map canvas") and visit.page.is_visible("#origins")
    assert not visit.page.is_visible("#tabs")
    assert visit.faults == []
    visit.close()


def test_without_webgl_lists_still_work(browser, path, tmp_path):
    text = path.read_text(encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.add_init_script(
        "HTMLCanvasElement.prototype.getContext = ((own) => function (kind, ...rest) {"
        " return kind.startsWith('webgl') ? null : own.call(this, kind, ...rest); })"
        "(HTMLCanvasElement.prototype.getContext);"
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    assert "WebGL" in page.inner_text("#map") and text
    page.evaluate(
        "async () => { explored.select(11); await explored.act('Enter', 11); }"
    )
    assert page.locator("#results li").count() == 20
    context.close()
