"""Breaks, palettes and printed numbers."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from configs.common import FUNCTION_CLASSES
from mmgr_jax.geo import symbols

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
    labs = [_lab(color, sight) for color in symbols.LAND_USE.values()]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2))
    assert nearest > 25


def test_every_class_has_its_own_colour():
    assert set(FUNCTION_CLASSES) == set(symbols.LAND_USE)
    mixed = symbols.class_colors(("water", "port", "forest", "airport"))
    assert mixed[0] == symbols.LAND_USE["water"]
    assert mixed[1] == symbols.OTHER_CLASSES[0]
    assert mixed[2] == symbols.LAND_USE["forest"]
    many = symbols.class_colors([f"class {index}" for index in range(30)])
    assert len(set(many)) == 30


@pytest.mark.parametrize("scale", [1e-5, 1.0, 3e8])
def test_quantile_breaks_hold_equally_many_and_enclose_all(scale):
    values = np.random.default_rng(0).lognormal(0, 1.5, 2000) * scale
    edges = symbols.quantile_breaks(values, np.linspace(0, 1, 8))
    assert len(edges) == 8 and (np.diff(edges) > 0).all()
    assert edges[0] <= values.min() and edges[-1] >= values.max()
    counts, _ = np.histogram(values, edges)
    np.testing.assert_allclose(counts, 2000 / 7, rtol=0.05)
    assert all(float(f"{edge:.3g}") == edge for edge in edges)  # three digits suffice


def test_ties_and_constants_leave_fewer_classes():
    zeros = np.concatenate([np.zeros(90), np.arange(1.0, 11.0)])
    quarters = np.linspace(0, 1, 5)
    assert symbols.quantile_breaks(zeros, quarters).tolist() == [0, 10]
    assert symbols.quantile_breaks(np.zeros(5), quarters).tolist() == [0, 1]
    low, high = symbols.quantile_breaks(np.full(5, -3.0), quarters)
    assert low <= -3 < high


def test_breaks_of_negative_numbers_enclose_them():
    values = np.array([-1234.5, -3.0, 0.0, 777.77])
    edges = symbols.quantile_breaks(values, np.array([0, 0.5, 1]))
    assert edges[0] == -1240 and edges[-1] == 778


def test_error_breaks_mirror_around_zero():
    errors = np.random.default_rng(1).normal(3, 10, 999)
    edges = symbols.symmetric_breaks(errors, np.array([0, 0.4, 0.7, 0.9, 1]))
    np.testing.assert_array_equal(edges, -edges[::-1])
    assert len(edges) == 8  # three magnitudes a side and one class around zero
    assert edges[-1] >= np.abs(errors).max()
    for edge, below in zip(edges[4:], (0.4, 0.7, 0.9, 1), strict=True):
        assert (np.abs(errors) <= edge).mean() == pytest.approx(below, abs=0.01)
    assert symbols.symmetric_breaks(np.zeros(4), np.linspace(0, 1, 3)).tolist() == [
        -1,
        1,
    ]


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
    assert symbols.number(value) == text


@pytest.mark.parametrize(
    ("largest", "power", "unit"),
    [
        (7_490.0, 0, "persons"),
        (999_000.0, 0, "persons"),
        (1_000_000.0, 6, "\N{MULTIPLICATION SIGN} 10\u2076 persons"),
        (220e9, 9, "\N{MULTIPLICATION SIGN} 10\u2079 persons"),
        (0.45, 0, "persons"),
        (0.01, -3, "\N{MULTIPLICATION SIGN} 10\u207b\u00b3 persons"),
        (2.66e-5, -6, "\N{MULTIPLICATION SIGN} 10\u207b\u2076 persons"),
    ],
)
def test_long_numbers_share_a_power_of_a_thousand(largest, power, unit):
    edges = np.array([-largest, 0.0, largest / 2])
    assert symbols.power_of_thousand(edges) == power
    assert symbols.with_power("persons", power) == unit


@pytest.mark.parametrize(
    ("longest", "expected", "text"),
    [(999.0, 500.0, "500 m"), (1000.0, 1000.0, "1 km"), (4100.0, 2000.0, "2 km")],
)
def test_scale_bars_are_round(longest, expected, text):
    assert symbols.scale_bar_m(longest) == expected
    assert symbols.length(expected) == text
