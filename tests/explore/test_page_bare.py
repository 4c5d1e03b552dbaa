"""Pages of cities that have little: no labels, no POIs, one region, hexagons."""

import dataclasses

import numpy as np
import pytest
import shapely
from small_records import write_records

from mmgr_jax.explore import city as city_lib
from mmgr_jax.explore import content, document
from tests.explore import browser as browser_lib
from tests.explore import small_explored


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a city."""
    visits = []

    def opened(city):
        path = tmp_path / f"{len(visits)}.html"
        text = "".join(document.write(content.of(city)))
        path.write_text(text, encoding="utf-8", newline="\n")
        visits.append(browser_lib.Visit(browser, path))
        return visits[-1]

    yield opened
    for visit in visits:
        assert visit.faults == [] and len(visit.asked) == 1
        visit.close()


def _walk_through(visit):
    """Everything that there is to press, once."""
    visit.run("() => { explored.select(0); explored.act('Enter', 0); }")
    browser_lib.search(visit)
    for tab in ("layers", "similar", "label", "mix", "about"):
        visit.run(f"() => {{ explored.showTab('tab-{tab}'); }}")
    layers = visit.page.locator("#layer option").evaluate_all(
        "(all) => all.map((item) => item.value)"
    )
    for layer in layers:
        browser_lib.show(visit, layer)
    visit.run("() => { explored.showTab('tab-mix'); }")
    visit.run("async () => { await explored.mix.suggested; }")


def test_a_region_alone_without_labels_and_pois(opened, tmp_path):
    write_records(tmp_path, rows=1, columns=1, num_shards=1, labels={})
    city = dataclasses.replace(
        small_explored.explored(tmp_path),
        pois=city_lib.PoiCounts(np.zeros(2, int), np.zeros(0, int), np.zeros(0, int)),
        projections=None,
        poi_weights=None,
    )
    visit = opened(city)
    _walk_through(visit)
    assert browser_lib.search(visit)["order"] == []
    assert "No region" in visit.text("#status")


def test_hexagons_with_a_hole_and_parts_are_clicked_where_they_lie(opened, records_dir):
    city = small_explored.explored(records_dir)
    shapes = []
    for index, outline in enumerate(shapely.from_wkb(city.geometry_wkb)):
        centre, radius = outline.centroid, outline.bounds[2] - outline.bounds[0]
        corners = np.arange(6) * np.pi / 3
        ring = np.stack([np.cos(corners), np.sin(corners)], axis=1) * radius / 2
        hexagon = shapely.Polygon(ring + [centre.x, centre.y])
        if index == 9:
            hexagon = hexagon.difference(centre.buffer(radius / 4))
        if index == 10:
            hexagon = shapely.difference(
                hexagon, centre.buffer(1).envelope.buffer(200, single_sided=False)
            ).union(
                shapely.box(centre.x + 12, centre.y - 3, centre.x + 20, centre.y + 3)
            )
            hexagon = hexagon.union(
                shapely.box(centre.x - 20, centre.y - 3, centre.x - 12, centre.y + 3)
            )
        shapes.append(hexagon.wkb)
    visit = opened(dataclasses.replace(city, geometry_wkb=shapes, poi_weights=None))
    _walk_through(visit)
    visit.run("async () => { await explored.mix.setMix(1, 2); }")
    assert "an approximation" in visit.text("#mix-results")
    visit.run("() => { explored.select(-1); }")
    browser_lib.click(visit, 9)  # into its hole
    assert visit.run("explored.selected") == -1
    browser_lib.click(visit, 10)  # between its parts
    assert visit.run("explored.selected") == -1
    browser_lib.click(visit, 11)
    assert visit.run("explored.selected") == 11
