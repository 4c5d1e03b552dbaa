"""The page: well-formed, self-contained, escaped, and saying what the numbers say."""

import ast
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mmgr_jax.page
from mmgr_jax.page import __main__ as page_command
from mmgr_jax.page import charts, maps, svg, words
from mmgr_jax.page.render import render

sys.path.insert(0, str(Path(__file__).parent))
from small_report import report  # noqa: E402

VOID = {"meta", "br", "img", "link", "hr", "input"}


class _Balance(HTMLParser):
    """Collects tags that are not closed in order, and all text."""

    def __init__(self):
        super().__init__()
        self.open, self.faults, self.text, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def parsed():
    # What a program would read: through JSON, without NaN.
    page = _Balance()
    page.feed(render(json.loads(json.dumps(report(), allow_nan=False))))
    return page


def test_tags_are_closed_in_order(parsed):
    assert not parsed.faults and not parsed.open


def test_nothing_is_loaded_and_nothing_runs(parsed):
    for tag, given in parsed.tags:
        assert tag not in {"script", "link", "img", "iframe", "object"}, tag
        assert not any(name.startswith("on") for name in given)
        assert "src" not in given and "url(" not in given.get("style", "")
        assert given.get("href", "#").startswith("#"), given
    style = "".join(parsed.text[:4])
    assert "@import" not in style and "url(" not in style


def test_what_users_wrote_stays_text(parsed):
    words_ = " ".join(parsed.text)
    assert "persons <b>" in words_ and "somebody & others" in words_
    assert "</pre><script>alert(1)</script>" in words_
    assert not any(tag in ("b", "script") for tag, _ in parsed.tags)


def test_links_lead_somewhere(parsed):
    ids = {given["id"] for _, given in parsed.tags if "id" in given}
    links = {g["href"][1:] for tag, g in parsed.tags if tag == "a" and "href" in g}
    assert links and links <= ids


def test_the_page_says_who_is_better_and_who_is_not(parsed):
    words_ = " ".join(parsed.text)
    assert "MMGR both: R² of log(1 + value / median) 0.600 [0.500, 0.700]." in words_
    assert "Better than mean. Not told apart from poi counts." in words_
    assert "Better than mean. Worse than poi counts." in words_
    assert (
        "Without POIs (image features alone)" in words_
        and "0.200 [0.100, 0.300]." in words_
    )
    assert "3 spatial blocks are few" in words_
    assert "3 labelled regions are few" in words_
    assert "4 of 40 regions, chosen at random." in words_


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "better"),
        (-0.2, -0.1, "worse"),
        (-0.1, 0.1, "not told apart"),
        (0.0, 0.1, "not told apart"),
        (None, None, "no interval"),
    ],
)
def test_a_verdict_is_that_of_the_interval(low, high, said):
    assert words.verdict(low, high) == said


def test_lower_is_better_for_errors():
    task = report()["tasks"]["function"]
    assert words.best(task) == "MMGR both"
    values = words.main(task)
    assert values["MMGR both"]["metrics"]["l1"] < values["mean"]["metrics"]["l1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (None, "–"), (float("nan"), "–"), (0.12345, "0.123"),
        (12.345, "12.3"), (-0.5, "−0.500"), (1234.5, "1,234"), (1.0, "1.00"),
        (0.8, "0.800"), (999.9, "1,000"),
        (-0.0001, "0"), (2e-5, "2e−05"), (3.2e9, "3.2e+09"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert svg.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (50.0, "50"),
        (0.5, "0.5"),
        (-0.5, "−0.5"),
        (100.0, "100"),
    ],
)
def test_ticks_have_no_zeros_behind(value, text):
    assert svg.tick(value) == text


def test_scales_hold_their_values_and_ticks_are_round():
    scale = svg.scale([0.13, 0.87], 0.0, 100.0)
    assert 0 < scale(0.13) < scale(0.87) < 100
    assert scale.ticks() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    log = svg.scale([1.0, 1000.0], 0.0, 300.0, log=True)
    assert log(10.0) - log(1.0) == pytest.approx(log(100.0) - log(10.0))
    assert [tick for tick in log.ticks() if tick in (1, 10, 100, 1000)]
    assert svg.scale([5.0], 0.0, 1.0)(5.0) == pytest.approx(0.5)
    assert svg.scale([], 0.0, 1.0).ticks()
    assert log(-3.0) == 0.0  # nothing is lost beyond the ends


def test_a_dot_lies_where_its_value_says():
    rows = [
        charts.Row("a", 0.0, -1.0, 1.0, True),
        charts.Row("b", 1.0),
        charts.Row("c", None),
    ]
    drawn = charts.intervals(rows, name="R²")
    dots = [float(at) for at in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    ends = re.search(r'<line x1="([\d.]+)" x2="([\d.]+)"[^>]*class="bar ours"', drawn)
    low, high = (float(end) for end in ends.groups())
    assert dots[0] == pytest.approx((low + high) / 2, abs=0.02)
    assert dots[1] == pytest.approx(high, abs=0.02)
    assert "not defined" in drawn


def test_residuals_are_blue_where_too_low_and_red_where_too_high():
    assert maps.diverging(0) == maps.DIVERGING[1]
    assert maps.diverging(-2) == maps.DIVERGING[0]
    assert maps.diverging(1) == maps.DIVERGING[2]
    drawn = maps.residual_map([0, 1, 2], [0, 0, 0], 1.0, [-5.0, None, 5.0], unit="m")
    assert f'fill="{maps.DIVERGING[0]}"' in drawn and 'class="blank"' in drawn


def test_north_is_up():
    drawn = maps.residual_map([0.0, 0.0], [0.0, 10.0], 10.0, [1.0, -1.0], unit="m")
    south, north = (
        float(re.search(rf'd="M[\d.]+ ([\d.]+)h[^"]*" fill="{colour}"', drawn).group(1))
        for colour in (maps.DIVERGING[2], maps.DIVERGING[0])
    )
    assert north < south


def test_a_page_is_made_anew_and_no_report_is_refused(tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report()))
    page_command.main([str(path)])
    assert (tmp_path / "report.html").read_text() == render(report())
    path.write_text("{}")
    for name in (path, tmp_path / "absent.json"):
        with pytest.raises(SystemExit, match="2"):
            page_command.main([str(name)])
        assert f"error: {name}: no report" in capsys.readouterr().err


def test_the_page_needs_the_standard_library_alone():
    folder = Path(mmgr_jax.page.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                root = name.split(".")[0]
                own = name.startswith("mmgr_jax.page")
                assert own or root in sys.stdlib_module_names, (path, name)
