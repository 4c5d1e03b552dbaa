"""Heads that come back from a folder say what they said before."""

import dataclasses

import numpy as np
import pytest
import small_labels

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.heads import protocols, stored_heads


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
    stored_heads.save_head(tmp_path / "heads", "fold_3", head)
    loaded = stored_heads.load_heads(tmp_path / "heads")["fold_3"]
    np.testing.assert_array_equal(loaded.predict(x), head.predict(x))
    np.testing.assert_allclose(loaded.predict(x), prediction, rtol=1e-6, atol=1e-9)
    for field in dataclasses.fields(head):
        before, after = getattr(head, field.name), getattr(loaded, field.name)
        if field.name == "weights":
            assert before.keys() == after.keys()
            for name in before:
                np.testing.assert_array_equal(before[name], after[name])
                assert before[name].dtype == after[name].dtype
        elif field.name == "metrics":
            assert after["r2"] == 0.5 and np.isnan(after["mape"])
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after, field.name


def test_heads_have_the_names_they_were_given(tmp_path):
    x, first, _ = _head()
    second = dataclasses.replace(first, label_name="gdp")
    for name, head in (("a", first), ("b", first), ("a", second)):
        stored_heads.save_head(tmp_path, name, head)
    np.savez(tmp_path / "certainty.npz", radius=np.zeros(3))
    heads = stored_heads.load_heads(tmp_path)
    assert {n: head.label_name for n, head in heads.items()} == {
        "a": "gdp",
        "b": "population",
    }


def test_absent_and_damaged_heads_are_told(tmp_path):
    with pytest.raises(InputError, match="no saved heads here.*mmgr_jax.eval"):
        stored_heads.load_heads(tmp_path)
    (tmp_path / "fold_0").mkdir()  # as versions before wrote them
    with pytest.raises(InputError, match="or those of an earlier version"):
        stored_heads.load_heads(tmp_path)
    stored_heads.save_head(tmp_path, "whole", _head()[1])
    path = tmp_path / "whole.head.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="whole.head.npz: a damaged head .*eval"):
        stored_heads.load_heads(tmp_path)
