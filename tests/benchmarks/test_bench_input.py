"""Benches of input, checkpoints and starts: rows that mean what they say."""

import argparse

import pytest

from benchmarks import checkpoint, input, records, startup, table
from benchmarks.measured import input as measured
from mmgr_jax.data.source import RecordSource


def _options(section, *flags):
    parser = argparse.ArgumentParser()
    section.add_flags(parser)
    return parser.parse_args(flags)


def test_input_tells_size_speed_and_loss_of_each_format(monkeypatch):
    monkeypatch.setattr(measured, "_RECORDS", 32)
    monkeypatch.setattr(measured, "_STEPS", 3)
    flags = ("--tiles=8", "--size=32", "--rounds=1", "--threads=2", "--no-peer")
    rows = {row["format"]: row for row in input.rows(_options(input, *flags))}
    assert rows["raw"]["size_ratio"] == 1
    assert rows["webp"]["size_ratio"] < 1 and rows["jpeg 90"]["size_ratio"] < 0.6
    for lossless in ("raw", "png", "webp"):
        assert rows[lossless]["largest_error"] == 0
        assert rows[lossless]["snr_db"] is None
    snr_db = [rows[f"jpeg {quality}"]["snr_db"] for quality in (98, 95, 90)]
    assert snr_db == sorted(snr_db, reverse=True) and snr_db[-1] > 20
    assert all(row["batches_per_s"] > 0 for row in rows.values())
    assert "pillow_read_per_s" in table.table(list(rows.values()))


def test_made_tiles_are_stored_as_real_ones_are(tmp_path):
    """92 aerial tiles of 224 px take 0.65 of their pixels as PNG, 0.25 as JPEG 95."""
    images = records.photographs(4, 224)
    for name, ratio in (("png", 0.65), ("jpeg", 0.25)):
        folder = records.write(tmp_path / name, images, name, None)
        assert len(RecordSource(folder)) == 4
        stored = sum(len(measured.tiles.encode(image, name, None)) for image in images)
        assert stored / images.nbytes == pytest.approx(ratio, rel=0.2)


def test_a_checkpoint_is_saved_and_restored(tmp_path):
    options = _options(checkpoint, "--mib=3", "--rounds=1", f"--folder={tmp_path}")
    ours, orbax, numpy = checkpoint.rows(options)
    for row in (ours, orbax, numpy):
        assert 0 < row["blocks_s"] <= row["save_s"] and row["restore_s"] > 0
    assert ours["blocks_ratio"] == 1
    assert numpy["save_ratio"] == pytest.approx(numpy["save_s"] / ours["save_s"])


@pytest.mark.slow
def test_a_second_start_compiles_little():
    flags = ("--encoder=resnet_small", "--size=32", "--batch=8")
    rows = startup.rows(_options(startup, *flags))
    cold, warm, without = rows[:3]
    assert warm["compile_s"] < cold["compile_s"] / 3
    assert warm["processor_s"] < without["processor_s"]
    assert warm["programs"] == cold["programs"] - 1  # no initial state is made
    assert {row["start"] for row in rows[3:]} == set(startup.COMMANDS)
