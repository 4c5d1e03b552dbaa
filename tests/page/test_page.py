"""The page: well-formed, self-contained, escaped, and saying what the numbers say."""

import ast
import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mmgr_jax import page as page_command
from mmgr_jax import terminal
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features.baselines import BASELINES
from mmgr_jax.geo import panels
from mmgr_jax.legend import colours, printed
from mmgr_jax.report import choice, report_file
from mmgr_jax.report.page import (
    charts,
    legends,
    maps,
    plain,
    standing,
    svg,
    tree,
    words,
)
from mmgr_jax.report.page.render import render

sys.path.insert(0, str(Path(__file__).parent))
from small_report import first_version, report  # noqa: E402

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


def _drawn(picture, *given, **options):
    return str(picture(*given, **options))


@pytest.fixture(scope="module")
def parsed():
    # What a program would read: through JSON, without NaN.
    page = _Balance()
    page.feed(render(json.loads(json.dumps(report(), allow_nan=False))))
    return page


@pytest.mark.parametrize("other", [None, "weights", "readout.image"])
def test_a_report_belongs_to_the_heads_beside_it(tmp_path, other):
    """One evaluation writes both; a report of another run is noticed."""
    made_by = {"weights": "1", "readout.image": "pooled"}
    path = tmp_path / "report.json"
    path.write_text(report_file.text({"tasks": {}, "made_by": made_by}))
    assert report_file.read(path)["made_by"] == made_by
    (tmp_path / "heads").mkdir()
    about = {"features": made_by | ({other: "2"} if other else {})}
    (tmp_path / "heads/about.json").write_text(json.dumps(about))
    if other is None:
        assert report_file.read(path)["made_by"] == made_by
        return
    with pytest.raises(InputError, match=f"heads beside it .other {other}"):
        report_file.read(path)


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


ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x00\x1b\u202e"


FREE = (
    "small", "other town", "population", "function", "persons <b>", "a", "b_c",
    "somebody & others", "poi counts", "MMGR image", "ridge", "canberra",
    "linear", "knn", "random", "runs/x/checkpoints/4", "mmgr-jax", "3.11", "0af",
    "manifest.json", "note", "MMGR", "MMGR: image to poi", "image features",
)  # fmt: skip
"""Strings of the report that a config, a folder or a file has chosen."""


def _renamed(content, names):
    """The same JSON with other strings in place of some, as keys and as values."""
    if isinstance(content, dict):
        return {
            names.get(key, key): _renamed(value, names)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_renamed(item, names) for item in content]
    return names.get(content, content) if isinstance(content, str) else content


def _read(page):
    """Element -> its attributes, and all text; as XML, which forgives nothing."""
    found, texts = {}, []
    body = ET.fromstring(page[page.index("<body>") : page.rindex("</html>")])
    for item in body.iter():
        found.setdefault(item.tag, set()).update(item.attrib)
        texts += [item.text or "", *item.attrib.values()]
    return found, "\n".join(texts)


def test_every_string_of_a_report_stays_text():
    benign = json.loads(json.dumps(report()))
    benign["cities"] = {
        "names": ["small", "other town"],
        "tasks": {"function": json.loads(json.dumps(benign["tasks"]["function"]))},
        "transfer": {"function": {"MMGR image": [[0.1, 0.2], [0.3, 0.4]]}},
    }
    names = {name: f"{index}{ATTACK}{name}" for index, name in enumerate(FREE)}
    page = render(_renamed(benign, names))
    expected, _ = _read(render(benign))
    found, texts = _read(page)
    for name, attributes in found.items():
        assert attributes <= expected[name], name
    assert "<script" not in page and "<img" not in page
    assert not set(page) & {"\x00", "\x1b", "\u202e"}
    for index, name in enumerate(FREE):
        told = f"{index}{ATTACK}{name}"
        as_json = json.dumps(told, ensure_ascii=False)[1:-1]  # of settings
        as_class = told.replace("_", " ")
        if "/checkpoints/" in name:  # of a folder its end alone is shown
            told = "/".join(told.split("/")[-3:])
        forms = map(terminal.visible, (told, as_json, as_class))
        assert any(form in texts for form in forms), name


@pytest.mark.parametrize(
    "made",
    [
        lambda: tree.element("script", "alert(1)"),
        lambda: tree.element("a", "here", href="javascript:alert(1)"),
        lambda: tree.element("a", "here", href="https://example.org"),
        lambda: tree.element("img", src="https://example.org/seen.png"),
        lambda: tree.element("p", "here", onclick="alert(1)"),
        lambda: tree.element("p><script", "here"),
        lambda: tree.Element("p", (), {"a b": "c"}),
    ],
)
def test_a_page_cannot_run_or_load_anything(made):
    with pytest.raises(ValueError):
        made()


def test_a_tree_reads_back_as_it_was_made():
    made = tree.element("p", "a < b & 'c'", ["d", tree.element("b", 'e"')], title='"<')
    read = ET.fromstring(str(made))
    assert read.text == "a < b & 'c'd" and read.attrib == {"title": '"<'}
    assert read.find("b").text == 'e"'


def test_links_lead_somewhere(parsed):
    ids = {given["id"] for _, given in parsed.tags if "id" in given}
    links = {g["href"][1:] for tag, g in parsed.tags if tag == "a" and "href" in g}
    assert links and links <= ids


def test_the_page_says_who_is_better_and_who_is_not(parsed):
    words_ = " ".join(parsed.text)
    assert "MMGR both: R² of log(1 + value / median) 0.600 [0.500, 0.700]." in words_
    assert "Better than mean. No clear difference from poi counts." in words_
    assert "Better than mean. Worse than poi counts." in words_
    assert (
        "Without POIs (image features alone)" in words_
        and "0.200 [0.100, 0.300]." in words_
    )
    assert "3 spatial blocks are few" in words_
    assert "3 labelled regions are few" in words_
    assert "4 of 40 regions, chosen at random." in words_


def _with_reference(task, value, distance):
    """The task, with the baseline to stand against."""
    name, head = standing.REFERENCE, task["headline"]
    methods = words.main(task)
    measured = {**methods["poi counts"]["metrics"], head: value}
    methods[name] = {**methods["poi counts"], "metrics": measured}
    task["differences"].append(
        {
            "method": "MMGR both",
            "reference": name,
            "metrics": {
                metric: [distance, distance - 0.1, distance + 0.1]
                for metric in measured
            },
            "better": {head: 0.004 if distance < 0 else 0.71},
        }
    )
    return task


def test_the_first_lines_say_how_we_stand_and_hide_nothing(parsed):
    told = report()
    told["tasks"]["population"] = _with_reference(
        told["tasks"]["population"], 0.9, -0.3
    )
    first, second = standing.lines(told)
    assert first == (
        "population: MMGR both 0.600, statistics and counts 0.900 (R² of logarithms, "
        "higher is better); worse by 0.300 [0.200, 0.400], better in fewer than 1 of "
        "100 resamples of blocks."
    )
    assert second == (
        "function: MMGR both 0.400, poi counts 0.450 (L1 distance, lower is better); "
        "no clear difference (better by 0.050 [−0.050, 0.150]), better in 52 of 100 "
        "resamples of blocks. poi counts is the best baseline here: 'statistics and "
        "counts' was not run."
    )
    page = render(told)
    front, lines = page.index('class="front"'), page.index('<ul class="standing">')
    assert page.index("</h1>") + len("</h1>") == page.index('<section class="front"')
    assert front < lines < page.index("worse by 0.300") < page.index('class="cards"')


def test_the_whole_is_quoted_even_where_another_of_ours_scores_better():
    task = report()["tasks"]["population"]
    words.main(task)["MMGR image"]["metrics"] = {"r2_log": 0.99}
    assert standing.quoted(task) == "MMGR both"
    del words.main(task)["MMGR both"]
    assert standing.quoted(task) == "MMGR image"


def test_a_report_without_intervals_or_baselines_says_so():
    task = report()["tasks"]["population"]
    task["differences"] = []
    told = standing.of_task("population", task)
    assert "MMGR both 0.600, poi counts 0.550" in told
    assert "no interval was asked for (config.eval.certainty.num_resamples)" in told
    for name in ("poi counts", "mean"):
        del words.main(task)[name]
    told = standing.of_task("population", task)
    assert told.endswith("no baseline was evaluated beside it.")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0.02, 0.01, 0.03, 0.999), "better by 0.020 [0.010, 0.030], better in more "),
        (
            (0.02, -0.01, 0.05, 0.9),
            "no clear difference (better by 0.020 [−0.010, 0.050])",
        ),
        (
            (-0.02, -0.05, 0.01, 0.1),
            "no clear difference (worse by 0.020 [−0.010, 0.050])",
        ),
        ((-0.02, -0.03, -0.01, 0.0), "worse by 0.020 [0.010, 0.030], better in 0 of "),
        (
            (0.0, -0.01, 0.01, 0.5),
            "no clear difference (0 [−0.010, 0.010]), better in 50 ",
        ),
        ((0.1, None, None, None), "no interval (better by 0.100)"),
        ((None, None, None, None), "the difference is not defined"),
    ],
)
def test_a_comparison_in_words(found, said):
    assert standing.comparison(*found).startswith(said)


def test_baselines_are_known_by_their_names():
    assert {*standing.WITHOUT_NETWORK, "random encoder"} == set(BASELINES)


def test_few_labels_have_a_line_a_column_and_a_difference(parsed):
    page = render(report())
    part = page[page.index("With few labels") :]
    part = part[: part.index("<h3>")]
    for header in ("<th>5</th>", "<th>10 % (10)</th>", "<th>all (100)</th>"):
        assert part.count(header) == 2, header  # of both tables
    assert "<small>[0.150, 0.450]</small>" in part and "±" not in part
    assert "How much better MMGR both is with the same number of labels" in part
    assert '<td class="no">+0.050<small>[−0.050, 0.150]</small></td>' in part
    assert '<div class="key">' in part and "resample these choices" in part


def test_the_first_version_of_a_report_is_still_read():
    page = render(json.loads(json.dumps(first_version(), allow_nan=False)))
    assert "<th>10 % (10)</th>" in page and "± 0.050" in page
    assert "Mean and standard deviation over random choices of the labels." in page
    assert (
        "no clear difference (better by 0.050 [−0.050, 0.150]). poi counts is" in page
    )


def test_limits_of_a_curve_lie_where_their_values_say():
    series = [
        charts.Series(name, [5, 10, 1000], [0.0, 0.5, 1.0], low, [0.25, 0.75, 1.0])
        for name, low in (("a", [-9.0, 0.25, 1.0]), ("b", [0.0, 0.25, 1.0]))
    ]
    drawn = _drawn(charts.curves, series, x_name="labels", y_name="R²")
    bars = re.findall(
        r'<line x1="([\d.]+)" x2="\1" y1="([\d.]+)" y2="([\d.]+)" stroke=', drawn
    )
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3"', drawn)
    assert len(bars) == len(dots) == 6
    (left, low, high), (x, y) = map(float, bars[1]), map(float, dots[1])
    assert (low + high) / 2 == pytest.approx(y, abs=0.02)
    assert left == pytest.approx(x - 2, abs=0.02)  # beside that of the other line
    # A limit far below ends at the axis, which keeps its room for the means.
    assert float(bars[0][1]) == 0.75 * 440 - 48
    heights = [float(dot[1]) for dot in dots]
    assert max(heights) - min(heights) > 0.5 * (0.75 * 440 - 60)
    ticks = re.findall(r'class="tick middle">([\d,]+)<', drawn)
    assert ticks == ["5", "10", "1,000"]


def test_numbers_below_an_axis_do_not_run_into_each_other():
    scale = svg.scale([5.0, 1000.0], 60.0, 400.0, log=True)
    kept = charts._apart(scale, [5, 5.5, 10, 900, 1000])
    assert kept == [5, 10, 1000]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "better"),
        (-0.2, -0.1, "worse"),
        (-0.1, 0.1, "no clear difference"),
        (0.0, 0.1, "no clear difference"),
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
    drawn = _drawn(charts.intervals, rows, name="R²")
    dots = [float(at) for at in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    ends = re.search(r'<line x1="([\d.]+)" x2="([\d.]+)"[^>]*class="bar ours"', drawn)
    low, high = (float(end) for end in ends.groups())
    assert dots[0] == pytest.approx((low + high) / 2, abs=0.02)
    assert dots[1] == pytest.approx(high, abs=0.02)
    assert "not defined" in drawn


def test_errors_are_blue_where_too_low_and_red_where_too_high():
    legend = legends.of_errors([0.0, 10.0, 20.0, None], "m")
    low, right, high = legend.places([-50.0, 0.0, 50.0])
    assert (low, high) == (0, len(legend.shades) - 1) and right == high / 2
    assert legend.shades[low] == colours.ERRORS[0]
    assert legend.shades[high] == colours.ERRORS[-1]
    assert legend.shades[right] == colours.ERRORS[4]
    assert legend.places([None]) == [None]


def test_north_is_up_and_the_scale_bar_is_as_long_as_it_says():
    squares = maps.Squares([0.0, 0.0, 990.0], [0.0, 990.0, 0.0], 10.0)
    drawn = _drawn(maps.draw, squares, [0, 1, None], ["#000001", "#000002"], name="m")
    south, north = (
        float(re.search(rf'd="M[\d.]+ ([\d.]+)h[^"]*" fill="{colour}"', drawn).group(1))
        for colour in ("#000001", "#000002")
    )
    assert north < south
    assert 'class="blank"' in drawn and "200 m, north is up" in drawn
    bar = float(re.search(r'd="M3 [\d.]+v6h([\d.]+)v-6"', drawn).group(1))
    assert bar / (380 - 4) == pytest.approx(0.2, abs=0.001)


def _legend_texts(page, part):
    """The text of each legend of a part of the page, by the title of its map."""
    section = page[page.index(f'<h2 id="{part}"') :]
    section = section[: section.index("Compared with other methods")]
    shown = {}
    for figure in re.findall(r"<figure>(.*?)</figure>", section, re.DOTALL):
        title = re.search(r'<figcaption class="title">(.*?)</figcaption>', figure)
        if title:
            shown.setdefault(title[1], set()).add(
                tuple(re.findall(r"</svg>([^<]*)</li>", figure))
            )
    return shown


def test_one_quantity_has_one_legend_on_every_map():
    """Truth and prediction, by all features; and it is that of the printed maps."""
    whole = report()
    by_region = whole["regions"]["tasks"]["population"]
    truth = [1.0, 30.0, None, 800.0]
    by_region["truth"] = truth
    by_region["predictions"]["MMGR image"] = [900.0, 5000.0, 0.0, 0.0]
    shown = _legend_texts(render(whole), "population")
    assert len(shown) == 3 and all(len(legends_) == 1 for legends_ in shown.values())
    values, error = shown["Truth"].pop(), shown["Error: prediction minus truth"].pop()
    unknown = (legends.UNKNOWN,)
    assert shown["Prediction"].pop() == values[:-1] and values[-1:] == unknown
    known = np.array([np.nan if value is None else value for value in truth])
    printed_ = panels.Breaks.of(known)
    assert values[:-1] == tuple(printed.classes(printed_.values))
    assert error == (*printed.classes(printed_.errors), *unknown)
    front = render(whole).partition('class="front"')[2].partition("</section>")[0]
    assert tuple(re.findall(r"</svg>([^<]*)</li>", front)) == values[:-1]


def test_the_first_screen_says_what_how_good_and_where_not():
    whole = report()
    count = 60
    truth = [float(i % 20) * 10 for i in range(count)]
    whole["regions"] |= {
        "region_id": list(map(str, range(count))), "drawn_of": count,
        "x_m": [64.0 * (i % 10) for i in range(count)],
        "y_m": [64.0 * (i // 10) for i in range(count)],
    }  # fmt: skip
    off = [2.0 if value < 100 else 50.0 for value in truth]
    whole["regions"]["tasks"] = {
        "population": {
            "truth": truth,
            "predictions": {
                "MMGR both": [t + d for t, d in zip(truth, off, strict=True)],
                "MMGR image": [0.0] * count,
            },
        },
        "function": {
            "truth": [[1.0, 0.0]] * 45 + [[0.2, 0.8]] * 15,
            "predictions": {"MMGR both": [[0.8, 0.2]] * 30 + [[0.4, 0.6]] * 30},
        },
    }
    page = render(whole)
    front = page.partition('class="front"')[2].partition("</section>")[0]
    assert "the population (persons &lt;b&gt;) that a model predicts from" in front
    assert "imagery and points of interest (POIs) (MMGR both)" in front
    assert "out-of-fold" in front and "Out-of-fold score: R² of logarithms 0.6" in front
    # Half are off by 2 or 50: the median of both is 26.
    assert "Half of the regions are off by less than 26 persons" in front
    assert "(the median, 95) half would be off by more than 50" in front
    assert "half of these regions are off by more than 50" in front
    # 45 of 60 are truly "a"; 30 are shown as "a", all rightly, and half of the others.
    assert "largest share in 75 of 100 regions; always &#x27;a&#x27; would be" in page
    assert "right in 75." in page
    assert "where it shows &#x27;b c&#x27;: 50 of 100" in page


def test_features_are_chosen_without_the_score_of_the_fold():
    scores = {"MMGR image": [0.5, 0.5, 0.5], "MMGR all": [0.6, 0.6, None]}
    assert choice.best(scores, higher=True) == "MMGR all"
    assert choice.best(scores, higher=False) == "MMGR image"
    # Better on one fold alone, and chosen for the others: no choice of all folds.
    lucky = {"MMGR poi": [0.9, 0.5, 0.5], "MMGR both": [0.6, 0.6, 0.6]}
    assert sum(lucky["MMGR poi"]) > sum(lucky["MMGR both"])
    assert choice.best(lucky, higher=True) == "MMGR both"
    assert choice.best({"MMGR poi": [None], "MMGR both": []}, higher=True) is None
    assert choice.best({"a poi": [0.1], "a both": [0.2]}, higher=True) == "a both"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234, "1,200"), (37.4, "37"), (4.81, "4.8"),
                        (0.0318, "0.032"), (-250.0, "−250")],
)  # fmt: skip
def test_a_number_as_one_says_it(value, text):
    assert plain.rough(value) == text


def test_a_page_is_made_anew_and_no_report_is_refused(tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report()))
    page_command.main([str(path)])
    assert (tmp_path / "report.html").read_text() == render(report())
    whole = path.read_bytes()
    for torn in (b"{}", b"[]", b"", b"nul", b"\xff", b"[" * 10**5, whole[:-200]):
        path.write_bytes(torn)
        with pytest.raises(SystemExit, match="2"):
            page_command.main([str(path)])
        assert f"error: {path}: no report" in capsys.readouterr().err
    absent = tmp_path / "absent.json"
    with pytest.raises(SystemExit, match="2"):
        page_command.main([str(absent)])
    assert f"error: {absent}: No such file" in capsys.readouterr().err


def test_a_link_in_place_of_the_page_is_not_followed(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(report()))
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "report.html").symlink_to(tmp_path / "theirs")
    page_command.main([str(tmp_path / "report.json")])
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json", "theirs"]


def _is_for_types(node):
    """Whether a block is for annotations alone, and so never loaded."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_the_page_needs_the_standard_library_alone():
    """The command, and all of the program that it loads, by way of whatever module."""
    root = Path(page_command.__file__).parents[1]
    left, seen = [Path(page_command.__file__)], set()
    while left:
        path = left.pop()
        seen.add(path)
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not _is_for_types(node)]
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                known = parts[0] in ("mmgr_jax", *sys.stdlib_module_names)
                assert known, (path, name)
                for count in range(1, len(parts) + 1):
                    place = root.joinpath(*parts[:count])
                    found = {place / "__init__.py", place.with_suffix(".py")}
                    left += [file for file in found - seen if file.exists()]
    assert {path.name for path in seen} >= {"render.py", "contents.py", "terminal.py"}
