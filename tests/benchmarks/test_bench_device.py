"""The sections of the benchmark that run on the device, in this process and small."""

import argparse

import numpy as np
import pytest
from oracles import import_oracle, import_torchvision

from benchmarks import augment, command, poi, step, turns


@pytest.fixture
def here(monkeypatch):
    """Ways run in this process, once."""

    def measure(ways, *, rounds, calls=1, together=True):
        found = {}
        for name, prepare in ways.items():
            way = prepare()
            way.call()
            seconds = float(len(found) + 1)
            found[name] = turns.Found(seconds, way.facts, (seconds,))
        return found

    monkeypatch.setattr(turns, "measure", measure)


def options(section, *arguments):
    parser = argparse.ArgumentParser()
    section.add_flags(parser)
    return parser.parse_args(arguments)


def test_views_are_compared_with_both_forms_of_torchvision(here):
    import_torchvision()
    given = options(augment, "--batch", "2", "--size", "32", "--no_step")
    rows = augment.rows(given)
    assert [row["way"] for row in rows] == [augment.PIL, augment.TENSORS, augment.OURS]
    assert [row["ratio_to_pil"] for row in rows] == [1.0, 1 / 2, 1 / 3]
    assert rows[-1]["gathers"] == 0
    assert rows[-1]["views_per_s"] == pytest.approx(4 / 3)


def test_share_of_views_is_that_of_both_together(here, monkeypatch):
    import_torchvision()
    monkeypatch.setattr(step, "ours", lambda *given: turns.Way(lambda: None, {}))
    rows = augment.rows(options(augment, "--batch", "2", "--size", "32"))
    assert rows[-1]["share_of_step"] == pytest.approx(3 / (3 + 4))


@pytest.mark.slow
def test_poi_encoders_are_compared_with_the_faster_peer(here):
    import_oracle("torch_geometric")
    rows = poi.rows(options(poi, "--batch", "4", "--slots", "8"))
    assert [row["ratio_to_peer"] for row in rows] == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert {row["pois"] for row in rows} == {int(poi.counts(4, 8).sum())}


def test_sets_have_one_that_is_full_and_none_that_is_empty():
    counts = poi.counts(128, 64)
    assert counts[0] == counts.max() == 64
    assert counts.min() >= 1
    assert np.median(counts) < 32


@pytest.mark.parametrize("section", ["step", "augment", "poi"])
def test_sections_are_listed(section):
    assert section in command.SECTIONS
    assert command._parser(section).parse_args([section]).rounds
