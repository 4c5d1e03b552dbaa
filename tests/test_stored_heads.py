"""Heads that come back from a folder say what they said before."""

import dataclasses
import random

import numpy as np
import pytest
import small_labels

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.heads import protocols, stored_heads
from mmgr_jax.store import arrays


def _head(protocol="linear", kind="count"):
    x, hidden = small_labels.features()
    target = small_labels.target(kind, hidden)
    cells = grid.whole(small_labels.split(len(x)), target.known)
    fits = protocols.fit(protocol, x, target, cells, keep=(0,))
    head = dataclasses.replace(
        fits.heads[0],
        label_name="population",
        feature_kind="image",
        split="block",
        metrics={"r2": 0.5, "mape": float("nan")},
    )
    return x, head, fits.prediction[0]


@pytest.mark.parametrize("kind", ["count", "scalar", "class"])
@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_a_head_survives_the_disk(tmp_path, protocol, kind):
    x, head, prediction = _head(protocol, kind)
    folder = stored_heads.save_head(tmp_path / "heads" / "population", head)
    loaded = stored_heads.load_head(folder)
    np.testing.assert_array_equal(loaded.predict(x), head.predict(x))
    np.testing.assert_allclose(loaded.predict(x), prediction, rtol=1e-6, atol=1e-9)
    for field in dataclasses.fields(head):
        before, after = getattr(head, field.name), getattr(loaded, field.name)
        if field.name == "weights":
            assert before.keys() == after.keys()
        elif field.name == "metrics":
            assert after["r2"] == 0.5 and np.isnan(after["mape"])
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after, field.name


def test_a_newer_head_takes_the_place_of_an_older(tmp_path):
    x, first, _ = _head()
    second = dataclasses.replace(first, label_name="gdp")
    for head in (first, second):
        stored_heads.save_head(tmp_path / "heads" / "a", head)
    stored_heads.save_head(tmp_path / "heads" / "b", first)
    heads = stored_heads.load_heads(tmp_path / "heads")
    assert [(n, head.label_name) for n, head in heads.items()] == [
        ("a", "gdp"),
        ("b", "population"),
    ]


def test_a_write_that_dies_leaves_the_old_head(tmp_path, monkeypatch):
    x, head, _ = _head()
    folder = stored_heads.save_head(tmp_path / "a", head)

    def die(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(arrays.ocp, "save_checkpointables", die)
    with pytest.raises(OSError, match="disk full"):
        stored_heads.save_head(folder, dataclasses.replace(head, label_name="new"))
    assert stored_heads.load_head(folder).label_name == "population"


def test_absent_and_damaged_heads_are_told(tmp_path):
    with pytest.raises(InputError, match="no saved heads here.*mmgr_jax.eval"):
        stored_heads.load_heads(tmp_path)
    with pytest.raises(InputError, match="nothing that this program saved"):
        stored_heads.load_head(tmp_path / "absent")
    (tmp_path / "torn").mkdir()
    with pytest.raises(InputError, match="torn"):
        stored_heads.load_heads(tmp_path)


def test_a_flipped_bit_in_any_file_of_a_head_is_noticed(tmp_path):
    rng = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    _, head, _ = _head()
    folder = stored_heads.save_head(tmp_path / "a", head)
    paths = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(paths) > 5
    for path in paths:
        before = path.read_bytes()
        content = bytearray(before)
        content[place := rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(InputError, match="a: nothing that this program saved"):
            stored_heads.load_head(folder)
            pytest.fail(f"seed {seed}: byte {place} of {path}")
        path.write_bytes(before)
    stored_heads.load_head(folder)


def test_a_head_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch):
    _, head, _ = _head()
    folder = stored_heads.save_head(tmp_path / "a", head)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(arrays.marks.checksums, "of", refuse)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        stored_heads.load_head(folder)


def test_a_folder_of_another_program_is_not_replaced(tmp_path):
    _, head, _ = _head()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="thesis: exists, but holds no arrays"):
        stored_heads.save_head(tmp_path / "thesis", head)
    assert (tmp_path / "thesis/thesis.tex").read_text() == "years of work"
