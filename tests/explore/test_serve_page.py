"""The page behind a server, in Chromium: the same as in a file, with exact numbers."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe

from mmgr_jax.explore import document, vectors
from tests.explore import browser as browser_lib
from tests.explore import small_explored

REGION = 11


@pytest.fixture(scope="module")
def hostile(city, prepared, answering):
    """A server of the city under a name that is markup."""
    name = f"small {small_explored.HOSTILE}"
    page, policy = document.served(name)
    own = {**vars(prepared), "page": page.encode(), "policy": policy}
    about = prepared.about.replace(
        b'"name":"small"', document.as_json({"name": name})[1:-1].encode()
    )
    return answering(type(prepared)(**{**own, "about": about}))


@pytest.fixture(scope="module")
def asked(browser, hostile):
    visit = browser_lib.Visit(browser, hostile.url)
    yield visit
    assert visit.faults == []
    assert all(url.startswith(hostile.url) for url in visit.asked)
    visit.close()


@pytest.fixture
def visit(asked):
    """The page as it is at first: nothing is chosen."""
    asked.run(
        """async () => { await explored.similar.clear(); explored.select(-1);
        explored.map.whole(); if (explored.label.state.history) explored.label.end();
        explored.showTab("tab-layers"); }"""
    )
    return asked


@pytest.fixture(scope="module")
def exact(city):
    """Standardised features, and the same of length 1 with groups weighing alike."""
    rows = vectors.Standardised.of(city.features).rows(np.arange(40))
    weighted = rows * city.features.weights()
    return rows, weighted / np.linalg.norm(weighted, axis=1, keepdims=True)


def until(visit, expression):
    """Waits until an expression is true; the page's policy forbids Playwright's way."""
    for _ in range(300):
        if visit.run(expression):
            return
        visit.page.wait_for_timeout(50)
    raise AssertionError(expression)


def test_names_are_text(visit):
    marks = visit.run(
        """() => [document.querySelectorAll("img, b, iframe, object").length,
        document.querySelectorAll("body script").length, document.title]"""
    )
    assert marks[:2] == [0, 2] and marks[2].startswith("small <img")
    assert small_explored.HOSTILE in visit.text("h1")
    assert "census <img" in visit.text("#origins")
    visit.run("explored.showTab('tab-about')")
    text = visit.text("#panel-about")
    assert small_explored.HOSTILE in text and "A small server answers" in text
    assert "Change between two years is not shown" in text
    assert "Everything is in this file" not in text


def test_a_click_finds_what_is_similar_by_exact_numbers(visit, city, exact):
    browser_lib.click(visit, REGION)
    visit.page.wait_for_selector("#card button.main")
    assert city.region_ids[REGION] in visit.text("#card h2")
    visit.page.click("#card button.main")
    state = browser_lib.search(visit)
    cosine = exact[1] @ exact[1][REGION]
    np.testing.assert_allclose(state["cosine"], cosine, atol=1e-5)
    cosine[REGION] = -2
    assert state["order"] == np.argsort(-cosine)[:20].tolist()
    items = visit.page.locator("#results li").evaluate_all(
        "(all) => all.map((item) => item.dataset.region)"
    )
    assert items == [city.region_ids[i] for i in state["order"]]


def test_examples_counterexamples_and_a_filter(visit, city, exact):
    visit.run(
        """async () => { await explored.similar.add("+", 3);
        await explored.similar.add("+", 12); await explored.similar.add("-", 30);
        explored.showTab("tab-similar"); }"""
    )
    wanted = exact[1][[3, 12]].mean(axis=0) - exact[1][30] / 2
    cosine = exact[1] @ wanted / np.linalg.norm(wanted)
    state = browser_lib.search(visit)
    np.testing.assert_allclose(state["cosine"], cosine, atol=1e-5)
    visit.page.click("#filters summary")
    visit.page.select_option("#filter-task", "prediction/function")
    visit.page.select_option("#filter-class", "2")
    largest = city.tasks["function"].prediction.value.argmax(axis=1)
    expected = set(np.flatnonzero(largest == 2)) - {3, 12, 30}
    assert set(browser_lib.search(visit)["order"]) == expected
    visit.page.select_option("#filter-task", "")
    visit.page.click("#filters summary")


def test_layers_are_those_of_the_page_in_a_file(visit, opened):
    layers = visit.page.locator("#layer option").evaluate_all(
        "(all) => all.map((item) => item.value)"
    )
    assert len(layers) > 12
    for layer in layers:
        own, other = (browser_lib.show(page, layer) for page in (visit, opened))
        assert own == other, layer


@pytest.mark.parametrize("zoom", [16.5, 15])
def test_outlines_and_squares_are_drawn_where_the_regions_lie(visit, zoom):
    assert visit.run("explored.city.served.regionZoom") == 16
    own = browser_lib.show(visit, "city/clusters")
    visit.run(
        """async (zoom) => { explored.map.setOpacity(1); explored.map.whole();
        explored.map.map.jumpTo({ zoom }); await explored.map.map.once("idle"); }""",
        zoom,
    )
    drawn = visit.run(
        """() => { const { city, map } = explored; const canvas = map.map.getCanvas();
        const flat = document.createElement("canvas").getContext("2d",
          { willReadFrequently: true });
        flat.canvas.width = canvas.width; flat.canvas.height = canvas.height;
        flat.drawImage(canvas, 0, 0); const ratio = canvas.width / canvas.clientWidth;
        return Array.from({ length: city.n }, (_, i) => { const { x, y } =
          map.map.project([city.centres[2 * i], city.centres[2 * i + 1]]);
          return [...flat.getImageData(x * ratio, y * ratio, 1, 1).data]; }); }"""
    )
    np.testing.assert_allclose(drawn, np.array(own["colours"]).reshape(40, 4), atol=2)
    hatched = browser_lib.show(visit, "task/prediction/population")
    assert np.count_nonzero(hatched["hatch"]) == 2
    visit.run("() => { document.getElementById('opacity').oninput(); }")


def test_labels_become_the_map_of_pythons_head(visit, city, exact):
    truth = city.tasks["population"].truth
    rows = list(range(0, 40, 2))
    browser_lib.begin(visit, kind="number", classes="persons", name="people")
    for row in rows:
        visit.run(
            "([row, value]) => { explored.label.state.value = value; "
            "explored.label.pick([row]); }",
            [row, float(truth[row])],
        )
    browser_lib.labels(visit)
    value = visit.run("[...explored.label.state.made.value]")
    head = small_explored.ridge_of(
        exact[0].astype(np.float32), city.features.weights(), rows, truth[rows],
        strength=visit.run("explored.label.state.made.strength"),
    )  # fmt: skip
    np.testing.assert_allclose(value, head, rtol=1e-3)
    assert visit.run("document.getElementById('layer').value") == "page/label"
    with visit.page.expect_download() as download:
        visit.page.click("#label-export-map")
    table = pd.read_csv(download.value.path())
    np.testing.assert_allclose(table["people_prediction"], value, rtol=1e-6)
    assert table["lon_deg"].between(119, 122).all()


def test_classes_are_those_of_the_page_in_a_file(visit, opened):
    """Whose numbers are rounded to a byte: probabilities differ by a hundredth."""
    made = []
    for page in (visit, opened):
        page.run("() => { explored.select(-1); }")
        browser_lib.begin(page, classes="a\nb\nc")
        page.run(
            """async () => { for (let i = 0; i < 30; i++) {
            explored.label.state.value = (i * 7 + (i >> 2)) % 3;
            explored.label.pick([i]); } await explored.label.mapped; }"""
        )
        made.append(
            page.run(
                """() => { const { probability, strength } = explored.label.state.made;
                return [[...probability], strength]; }"""
            )
        )
        page.run("() => { explored.label.end(); }")
    assert made[0][1] == made[1][1]
    np.testing.assert_allclose(made[0][0], made[1][0], atol=0.05)
    assert np.abs(np.subtract(made[0][0], made[1][0])).mean() < 0.01


def test_a_stroke_and_what_to_label_next(visit):
    browser_lib.begin(visit)
    visit.page.check("#label-brush")
    places = visit.run(
        """() => [20, 21, 22].map((region) => { const { city, map } = explored;
        const { x, y } = map.map.project([city.centres[2 * region],
          city.centres[2 * region + 1]]);
        const box = map.map.getCanvas().getBoundingClientRect();
        return [box.left + x, box.top + y]; })"""
    )
    visit.page.mouse.move(*places[0])
    visit.page.mouse.down()
    for place in places:
        visit.page.mouse.move(*place, steps=3)
    visit.page.mouse.up()
    until(visit, "explored.label.state.history.now.values.size === 3")
    assert browser_lib.labels(visit) == {"20": 0, "21": 0, "22": 0}
    visit.page.click("#label-next")
    visit.page.wait_for_selector("#label-next-list li")
    regions = visit.run("explored.label.state.next")
    assert len(set(regions)) == 5 and not {20, 21, 22} & set(regions)


def test_what_to_label_next_is_what_the_module_says(visit, node, exact, city):
    x = exact[0].astype(np.float32)
    known = [4, 9, 30]
    given = {
        "x": x, "d": x.shape[1], "candidates": list(range(40)), "labelled": known,
        "weights": city.features.weights().astype(np.float32), "count": 6,
    }  # fmt: skip
    wanted = node("suggest", "suggest", given)
    own = visit.run(
        """(labelled) => explored.helper.ask("suggest", { labelled, count: 6 })""",
        known,
    )
    assert own["regions"] == list(wanted["regions"])
    np.testing.assert_allclose(own["score"], wanted["score"], rtol=1e-5)


def test_pictures_and_pois_suggest_each_other(visit, city):
    image, poi = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in city.projections
    )
    having = np.flatnonzero(city.pois.total > 0)
    others = having[having != REGION]
    own = visit.run(
        """async (region) => { const { rows, regions, cosine } =
        await explored.helper.ask("poisOfPicture", { region });
        return { rows, regions, cosine }; }""",
        REGION,
    )
    cosine = poi[others] @ image[REGION]
    assert own["regions"] == others[np.argsort(-cosine)].tolist()
    np.testing.assert_allclose(own["cosine"], np.sort(cosine)[::-1], atol=1e-5)
    result = visit.run(
        """async () => { explored.showTab("tab-mix"); await explored.mix.setMix(1, 2);
        await explored.mix.mixed; return explored.mix.state.result; }"""
    )
    assert result["exact"] and len(result["pictures"]["regions"]) == 12
    visit.run("async () => { await explored.mix.clear(); }")


def test_why_adds_up(visit):
    visit.run("() => { explored.select(11); }")
    visit.page.wait_for_selector("#card-why")
    visit.run("() => { document.getElementById('card-why').open = true; }")
    visit.page.wait_for_selector("#card-why table")
    assert "40 labelled regions" in visit.text("#card-why")


def test_lists_are_saved_with_outlines(visit, city, tmp_path):
    visit.run("async () => { await explored.act('Enter', 11); }")
    order = browser_lib.search(visit)["order"]
    saved = {}
    for kind in ("csv", "geojson"):
        with visit.page.expect_download() as download:
            visit.page.click(f"#export-{kind}")
        saved[kind] = tmp_path / f"similar.{kind}"
        download.value.save_as(saved[kind])
    table = pd.read_csv(saved["csv"])
    task = city.tasks["population"]
    np.testing.assert_allclose(table["population_truth"], task.truth[order], rtol=1e-5)
    frame = gpd.read_file(saved["geojson"])
    own = frame.to_crs(city.manifest.crs).geometry.to_numpy()
    expected = shapely.from_wkb(np.array(city.geometry_wkb, object)[order])
    assert (shapely.area(shapely.symmetric_difference(own, expected)) < 3).all()


def test_the_tile_of_a_region_is_its_own(visit, hostile, city):
    visit.run("() => { explored.select(11); }")
    visit.page.wait_for_selector("#card canvas.tile")
    visit.page.wait_for_timeout(300)
    drawn = visit.run(
        """() => { const tile = document.querySelector("#card canvas.tile");
        const { width, height } = tile;
        const { data } = tile.getContext("2d").getImageData(0, 0, width, height);
        let sum = 0; for (let i = 0; i < data.length; i += 4) sum += data[i];
        return sum / (data.length / 4); }"""
    )
    assert drawn == pytest.approx(city.tile(REGION)[..., 0].mean(), abs=2)


def test_a_server_that_has_ended_is_told(browser, prepared, answering):
    own = answering(prepared)
    visit = browser_lib.Visit(browser, own.url)
    own.shutdown()
    own.server_close()
    visit.context.set_offline(True)
    visit.run("() => { explored.act('Enter', 5); }")
    until(
        visit,
        "document.getElementById('status').textContent.includes('does not answer')",
    )
    visit.close()


def test_with_a_token_it_opens_from_another_place(browser, prepared, answering):
    own = answering(prepared, host="0.0.0.0")
    visit = browser_lib.Visit(browser, own.url.replace("0.0.0.0", "127.0.0.1"))
    visit.run("async () => { await explored.act('Enter', 11); }")
    assert len(browser_lib.search(visit)["order"]) == 20
    assert visit.faults == []
    visit.close()


def test_a_page_of_another_site_cannot_read_it(browser, server, answering, prepared):
    other = answering(prepared)
    visit = browser_lib.Visit(browser, other.url)
    blocked = visit.run(
        """(url) => fetch(url).then(() => "read", () => "blocked")""",
        f"{server.url}city.json",
    )
    assert blocked == "blocked"
    visit.close()


@pytest.mark.parametrize(  # test_page.py has both
    "scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)]
)
def test_screen_readers_and_phones(browser, hostile, scheme):
    size = browser_lib.PHONE if scheme == "dark" else browser_lib.DESKTOP
    visit = browser_lib.Visit(browser, hostile.url, size=size, scheme=scheme)
    visit.run("async () => { explored.select(11); await explored.act('Enter', 11); }")
    browser_lib.search(visit)
    visit.run(
        """() => { for (const panel of document.querySelectorAll("[role=tabpanel]"))
        panel.hidden = false; }"""
    )
    bad = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(visit.page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert visit.run("document.documentElement.scrollWidth") <= size["width"]
    assert visit.faults == []
    visit.close()
