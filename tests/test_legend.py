"""Legends: breaks that are round, colours told apart, numbers as printed."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from configs.common import FUNCTION_CLASSES
from mmgr_jax.legend import breaks, colours, printed

# Machado, Oliveira & Fernandes (2009), table 1, severity 1; on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def _lab(color, sight):
    """CIELAB (D65) of an sRGB colour as seen with the given sight."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ seen / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_land_use_colours_differ_for_every_sight(sight):
    labs = [_lab(color, sight) for color in colours.LAND_USE.values()]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2))
    assert nearest > 25


def test_every_class_has_its_own_colour():
    assert set(FUNCTION_CLASSES) == set(colours.LAND_USE)
    mixed = colours.of_classes(("water", "port", "forest", "airport"))
    assert mixed[0] == colours.LAND_USE["water"]
    assert mixed[1] == colours.OTHER_CLASSES[0]
    assert mixed[2] == colours.LAND_USE["forest"]
    many = colours.of_classes([f"class {index}" for index in range(30)])
    assert len(set(many)) == 30


@pytest.mark.parametrize("scale", [1e-5, 1.0, 3e8])
def test_breaks_of_values_are_round_and_hold_about_equally_many(scale):
    values = np.random.default_rng(0).lognormal(0, 1.5, 2000) * scale
    edges = breaks.of_values(values)
    assert len(edges) == breaks.CLASSES - 1 and sorted(set(edges)) == list(edges)
    counts, _ = np.histogram(values, [-np.inf, *edges, np.inf])
    np.testing.assert_allclose(counts, 2000 / 7, rtol=0.35)
    assert all(float(f"{edge:.2g}") == edge for edge in edges)  # two digits suffice


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0.0,)),
        ([np.nan, np.inf], (0.0,)),
        ([-3.0, -3.0], (-3.0,)),
        ([0.0] * 99 + [7.3], (5.0,)),
        ([0, 1, 2, 3], (1.0, 2.0, 3.0)),
        ([0.0] * 90 + list(range(1, 11)), (2.0, 3.5, 5.0, 6.0, 7.5, 9.0)),
        ([0.0] * 900 + [1.0] * 90 + list(range(2, 9)), (3, 4, 5, 6, 7, 8)),
    ],
)
def test_ties_and_constants_leave_fewer_classes(values, expected):
    assert breaks.of_values(values) == expected


def test_breaks_do_not_depend_on_order_or_type():
    values = np.random.default_rng(0).gamma(0.5, 100, 300)
    expected = breaks.of_values(values.tolist())
    assert breaks.of_values(values[::-1]) == expected
    # As a report keeps them: five digits.
    assert breaks.of_values(float(f"{v:.5g}") for v in values) == expected


def test_breaks_of_errors_mirror_around_zero():
    values = np.random.default_rng(1).normal(3, 10, 999)
    edges = np.array(breaks.of_errors(values))
    np.testing.assert_array_equal(edges, -edges[::-1])
    # 1.96 deviations of 10, rounded; then every second step of 1, 2, 5, 10, ...
    assert edges[3:].tolist() == [1, 5, 20]
    assert breaks.of_errors(100 * values)[3:] == (100, 500, 2000)
    assert breaks.of_errors([5.0, 5.0]) == breaks.of_errors([])
    assert breaks.of_errors([])[3:] == (0.05, 0.2, 1.0)
    assert breaks.of_errors([0.0] * 99 + [7.3])[3:] == (0.5, 2.0, 10.0)


def test_a_value_at_a_break_belongs_to_the_class_above():
    assert [breaks.place(v, (0.0, 2.0)) for v in (-1, 0, 1, 2, 9)] == [0, 1, 1, 2, 2]
    assert printed.classes((0.0, 2000.0)) == ["below 0", "0 to 2,000", "2,000 or more"]


@pytest.mark.parametrize(
    ("low", "high", "near", "expected"),
    [
        (80, 120, 99, 100), (130, 170, 149, 150), (220, 280, 251, 250),
        (-0.4, 0.3, 0.1, 0), (-170, -130, -149, -150), (0.28, 0.34, 0.31, 0.3),
        (1234.5, 1234.5, 1234.5, 1234.5),
    ],
)  # fmt: skip
def test_the_roundest_number_within_limits(low, high, near, expected):
    assert breaks.roundest(low, high, near) == expected


def test_a_ramp_begins_and_ends_at_its_ends():
    assert colours.ramp(colours.VALUES, 13) == colours.VALUES
    assert colours.ramp(("#000000", "#ffffff"), 3) == ("#000000", "#808080", "#ffffff")
    assert colours.ramp(colours.ERRORS, 1) == ("#f7f6f6",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (-84.4, "\N{MINUS SIGN}84.4"),
        (1_540_000.0, "1,540,000"),
        (-2.66e-5, "\N{MINUS SIGN}2.66e\N{MINUS SIGN}5"),
        (3.1e12, "3.1e12"),
    ],
)
def test_numbers_as_printed(value, text):
    assert printed.number(value) == text


@pytest.mark.parametrize(
    ("longest", "expected", "text"),
    [(999.0, 500.0, "500 m"), (1000.0, 1000.0, "1 km"), (4100.0, 2000.0, "2 km")],
)
def test_scale_bars_are_round(longest, expected, text):
    assert printed.scale_bar_m(longest) == expected
    assert printed.length(expected) == text
