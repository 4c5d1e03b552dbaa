"""Labels on the page, in Chromium: given, mapped, saved, read back, explained."""

import dataclasses

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.explore import content, document, vectors
from tests.explore import browser as browser_lib
from tests.explore import small_explored

REGION = 11


def test_labels_by_clicks_keys_and_drawing_become_a_map(visit):
    browser_lib.begin(visit)
    browser_lib.click(visit, 0)
    visit.page.check('[name="label-class"][value="1"]')
    browser_lib.click(visit, 20)
    assert browser_lib.labels(visit) == {"0": 0, "20": 1}
    layer = visit.run("document.getElementById('layer').value")
    assert layer == "page/label"  # the map shows itself when there is one
    visit.page.focus("#map canvas")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("1")
    assert browser_lib.labels(visit) == {"0": 0, "20": 1, "21": 0}
    visit.page.keyboard.press("0")
    assert browser_lib.labels(visit) == {"0": 0, "20": 1}
    visit.page.click("#label-undo")
    assert browser_lib.labels(visit) == {"0": 0, "20": 1, "21": 0}
    visit.page.keyboard.press("Control+z")
    visit.page.click("#label-redo")
    assert browser_lib.labels(visit) == {"0": 0, "20": 1, "21": 0}

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
    assert browser_lib.labels(visit) == {"0": 0, "20": 1, "21": 0} | drawn
    assert visit.run("explored.map.map.getCenter().lng") == middle
    visit.page.click("#label-undo")  # one stroke is one step
    assert browser_lib.labels(visit) == {"0": 0, "20": 1, "21": 0}


def test_the_map_of_labels_is_that_of_a_head_on_the_same_numbers(visit, city):
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
        assert browser_lib.show(visit, layer)["legend"]["unit"] == "persons"


def test_labels_are_saved_and_read_back(visit, city, tmp_path):
    browser_lib.begin(visit, name="=mine")
    for region, value in [(3, 0), (12, 1), (30, 1)]:
        visit.run(
            "([region, value]) => { explored.label.state.value = value; "
            "explored.label.pick([region]); }",
            [region, value],
        )
    before = browser_lib.labels(visit)
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
    assert browser_lib.labels(visit) == before
    visit.run("() => { explored.label.end(); }")
    other = tmp_path / "other.csv"
    other.write_text("name,mine\nx,1\n")
    visit.page.set_input_files("#label-file", other)
    visit.page.wait_for_selector(".fault:not(:empty)")
    assert "region_id" in visit.text(".fault")


def test_what_to_label_next_is_unlabelled_and_chosen(visit):
    browser_lib.begin(visit)
    browser_lib.click(visit, 5)
    visit.page.click("#label-next")
    visit.page.wait_for_selector("#label-next-list li")
    regions = visit.run("explored.label.state.next")
    assert len(set(regions)) == 5 and 5 not in regions
    assert visit.run("explored.selected") == regions[0]
    visit.page.keyboard.press("Escape")
    visit.run("() => { explored.label.act('2', explored.selected); }")
    assert regions[0] not in visit.run("explored.label.state.next")


def test_a_picture_suggests_pois_and_a_mix_suggests_pictures(visit, city):
    visit.run("() => { explored.select(11); explored.showTab('tab-mix'); }")
    visit.run("async () => { await explored.mix.suggested; }")
    image, poi = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in city.projections
    )
    having = np.flatnonzero(city.pois.total > 0)
    others = having[having != REGION]
    assert len(others) <= 50  # so all of them fit best
    for row in visit.run("explored.mix.state.suggested"):
        own = [
            row["category"]
            in city.pois.category[city.pois.start[i] : city.pois.start[i + 1]]
            for i in others
        ]
        assert row["share"] == pytest.approx(np.mean(own))
    assert image.shape == poi.shape
    visit.page.select_option("#mix-category", "2")
    visit.page.click("#mix-add")
    visit.run("async () => { await explored.mix.mixed; }")
    assert visit.run("explored.mix.state.result.exact")
    assert "encoder reads the mix" in visit.text("#mix-results")
    regions = visit.run("explored.mix.state.result.regions.regions")
    first = regions[0]
    part = slice(city.pois.start[first], city.pois.start[first + 1])
    assert 2 in city.pois.category[part]
    assert visit.page.locator("#mix-sliders input").count() == 1
    assert visit.page.locator("#mix-results canvas.tile").count() >= 12
    visit.page.locator("#mix-sliders input").fill("0")
    visit.run("async () => { await explored.mix.mixed; }")
    assert visit.page.locator("#mix-results li").count() == 0


def test_words_become_a_mix(visit):
    visit.run("() => { explored.showTab('tab-mix'); explored.mix.clear(); }")
    visit.page.fill("#mix-words", "Wordc and worde <b>")
    visit.page.press("#mix-words", "Enter")
    visit.run("async () => { await explored.mix.mixed; }")
    assert visit.run("[...explored.mix.state.mix]") == [[2, 3], [4, 3]]
    assert "words of this page: and, b." in visit.text("#mix-words-said")
    assert visit.page.locator("#mix-sliders input").count() == 2
    assert visit.page.locator("#mix-results canvas.tile").count() >= 12
    visit.page.fill("#mix-words", "zzz")
    visit.page.press("#mix-words", "Enter")
    assert "words of this page: zzz" in visit.text("#mix-words-said")
    assert visit.page.locator("#mix-sliders input").count() == 2  # the mix stays
    visit.run("() => { explored.mix.clear(); }")


def test_twins_are_found_in_a_city_of_the_same_encoder(visit, city, tmp_path):
    shift = dataclasses.replace(  # the same places, elsewhere in the space
        city,
        features=Features((city.features.values * 3 + 7,), city.features.groups),
        region_ids=[f"twin of {name}" for name in city.region_ids],
    )
    for name, other in {
        "twin": shift,
        "stranger": dataclasses.replace(shift, made_by="another"),
    }.items():
        text = "".join(document.write(content.of(other)))
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8", newline="\n")
    (tmp_path / "letter.html").write_text("<p>Dear reader</p>", encoding="utf-8")
    visit.run("() => { explored.act('Enter', 11); explored.showTab('tab-similar'); }")
    browser_lib.search(visit)
    for name, sentence in [
        ("letter", "letter.html was not made by"),
        ("stranger", "another encoder"),
        ("twin", "40 regions"),
    ]:
        visit.page.set_input_files("#twins-file", tmp_path / f"{name}.html")
        visit.page.wait_for_function(
            "(text) => document.querySelector('#twins-said').innerText.includes(text)",
            arg=sentence,
        )
        visit.run("async () => { await explored.twins.opened; }")
    assert visit.run("explored.twins.order")[0] == REGION  # every twin is its own
    assert visit.text("#twins li").startswith(f"twin of {city.region_ids[REGION]}")
    visit.run("() => { explored.act('-', 11); }")
    browser_lib.search(visit)
    assert REGION not in visit.run("explored.twins.order")[:5]


def test_parts_of_a_prediction_add_up_to_it(visit, city):
    visit.run("() => { explored.select(11); }")
    visit.page.click("#card-why summary")
    visit.page.wait_for_selector("#card-why table")
    assert "has not seen this region" in visit.text("#card-why")
    factors = visit.page.locator("#card-why tbody td").all_inner_texts()
    task = city.tasks["population"]
    baseline, parts = task.parts.baseline[REGION], task.parts.by_group[REGION]
    value, unit = task.prediction.value[REGION], task.parts.units[REGION]
    assert unit * np.expm1(baseline + parts.sum()) == pytest.approx(value)
    largest = parts[np.argsort(-np.abs(parts))]
    shown = [float(text.removeprefix("×\u00a0")) for text in factors]
    np.testing.assert_allclose(shown, np.exp(largest), rtol=5e-3)

    visit.page.select_option("#why-task", "city/function")  # its heads are not linear
    visit.page.wait_for_selector("#card-why table:has-text('odds')")
    assert "40 labelled regions" in visit.text("#card-why")
    said = visit.run(
        """async () => { const { helper, whyTask } = explored; return helper.ask("why",
        { key: whyTask, kind: "class", region: 11, k: 3 }); }"""
    )
    own = said["parts"]
    total = own["baseline"] + sum(group["value"] for group in own["groups"])
    assert total == pytest.approx(own["sum"])
    assert [group["name"] for group in own["groups"]] == ["image", "poi"]
    visit.page.click("#card-why summary")


def test_what_a_prediction_loses_is_shown_as_it_was_computed(visit, city):
    visit.run("() => { explored.select(11); }")
    visit.page.click("#card-occlusion summary")
    lost = city.occlusion.tasks["population"]
    cells, own = lost.by_cell[1], lost.by_category[city.occlusion.start[1] :]
    row, column = np.unravel_index(np.argmax(np.abs(cells)), cells.shape)
    text = visit.text("#card-occlusion")
    assert f"row {row + 1}, column {column + 1}" in text
    assert "<b>persons</b>" in text  # a unit is text
    shown = visit.page.locator("#card-occlusion tbody td").all_inner_texts()
    numbers = [float(t.split()[0].replace("\u2212", "-")) for t in shown]
    wanted = -own[np.argsort(-np.abs(own))]
    np.testing.assert_allclose(numbers, wanted, rtol=6e-3)
    painted = visit.run(
        """() => { const canvas = document.querySelector("canvas.heat");
        const { width } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, width);
        return [...Array(16).keys()].map((i) => {
          const [x, y] = [i % 4, Math.floor(i / 4)].map((cell) =>
            Math.floor((cell + 0.5) * width / 4));
          return [...data.slice(4 * (y * width + x)).slice(0, 3)]; }); }"""
    )
    red, _, blue = np.array(painted, float).reshape(4, 4, 3).transpose(2, 0, 1)
    strong = np.abs(cells) > 0.5 * np.abs(cells).max()
    assert ((red > blue) == (cells > 0))[strong].all()
    visit.page.select_option("#occlusion-task", "function")
    assert "No part of the tile" in visit.text("#card-occlusion")
    visit.run("() => { explored.select(12); }")
    assert "--occlusion=all" in visit.text("#card-occlusion")
    visit.page.click("#card-occlusion summary")
