"""The bench of the heads: both sides do the same, so that their seconds compare."""

import argparse

import pytest

from benchmarks import probe
from mmgr_jax.evaluation.heads.protocols import STRENGTHS


def test_both_sides_choose_and_predict_alike():
    parser = argparse.ArgumentParser()
    probe.add_flags(parser)
    flags = "--regions 120 --features 8 --folds 3 --seeds 1 --rounds 1 --kinds count"
    options = parser.parse_args(flags.split())
    (row,) = probe.rows(options)
    assert row["label"] == "count" and row["regions"] == 120
    assert row["same_strength"] == 1
    assert row["max_difference"] < 1e-9
    assert row["ratio"] == pytest.approx(row["sklearn_s"] / row["ours_s"])
    cpu_ratio = row["sklearn_cpu_s"] / row["ours_cpu_s"]
    assert row["cpu_ratio"] == pytest.approx(cpu_ratio)
    assert row["heads"] % len(STRENGTHS) == 0
