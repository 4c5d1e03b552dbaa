"""The report in a browser: readable for all, on a phone, in the dark and on paper."""

import itertools
import json
import sys
from pathlib import Path

import browser as browser_lib
import pytest

from mmgr_jax.report.page import style
from mmgr_jax.report.page.render import render

sys.path.insert(0, str(Path(__file__).parent))
from small_report import report  # noqa: E402

ATTACK = "\"'><script>document.title='run'</script><b>&amp;"


def _luminance(colour):
    """Relative luminance, by WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first, second):
    low, high = sorted(map(_luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(colours):
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    for text, behind in itertools.product(style.TEXT, style.BEHIND):
        assert _contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    assert _contrast("#0000ee", style.DARK["wash"]) < 2  # a browser's own links
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)


def test_colours_are_the_same_variables_in_light_and_dark():
    assert style.LIGHT.keys() == style.DARK.keys()
    used = {part.partition(")")[0] for part in style.STYLE.split("var(--")[1:]}
    assert used == set(style.LIGHT)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of a report with names that would like to run."""
    whole = json.loads(json.dumps(report()))
    whole["data"]["city"] = f"city {ATTACK}"
    for task in whole["tasks"].values():
        if task["label"]["classes"]:
            task["label"]["classes"] = [f"a {ATTACK}", "b_c"]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(whole), encoding="utf-8")
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
    page.context.close()


def test_axe_would_find_something(browser, path, tmp_path):
    """The former look of links in the dark."""
    text = path.read_text(encoding="utf-8").replace(style.DARK["link"], "#0000ee")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = browser_lib.opened(browser, tmp_path / "page.html", scheme="dark")
    assert "color-contrast" in browser_lib.severe(page)
    page.context.close()


def test_the_first_screen_of_a_phone_shows_the_map(browser, path):
    page = browser_lib.opened(browser, path, size="phone")
    width, height = browser_lib.SIZES["phone"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.locator("svg.map").first.bounding_box()
    assert drawn["width"] > 0.6 * width and drawn["y"] + drawn["height"] < height
    # Numbers beside axes are at least 9 px high.
    sizes = page.evaluate(
        """[...document.querySelectorAll('svg text')].map(t => {
          const scale = t.ownerSVGElement.getScreenCTM().a;
          return scale ? parseFloat(getComputedStyle(t).fontSize) * scale : 99; })"""
    )
    assert min(sizes) >= 9
    page.context.close()


def test_names_do_not_run_and_tables_are_reached_by_keyboard(browser, path):
    page = browser_lib.opened(browser, path)
    assert page.title().startswith("city \"'><script>")
    assert page.evaluate("document.scripts.length") == 0
    assert page.locator("main b").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#population"
    page.context.close()


def test_paper_is_white_and_shows_maps_without_the_menu(browser, path):
    page = browser_lib.opened(browser, path, scheme="dark")
    page.emulate_media(media="print")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator("svg.map").first.is_visible()
    assert page.pdf(format="A4")[:5] == b"%PDF-"
    page.context.close()
