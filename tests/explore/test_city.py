"""What is gathered of a city, and what a page is refused for.

That a page shows what `embed` writes stands in tests/test_eval.py, beside its run.
"""

import numpy as np
import pytest

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.explore import city, command, content


def test_what_cannot_be_shown_is_refused(small_config, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--out='map.htm'; allowed: .*\.html"):
        command.explore(small_config, "map.htm")
    out = str(tmp_path / "city.html")
    with pytest.raises(InputError, match="checkpoint"):
        command.explore(small_config, out)
    with pytest.raises(InputError, match="--before=RECORDS_FOLDER names that year"):
        command.explore(small_config, out, unchanged="known.csv")
    monkeypatch.setattr("mmgr_jax.explore.document.LIBRARY", "no_such_library")
    with pytest.raises(InputError, match="requirements-explore.txt"):
        command.explore(small_config, out)
    assert not (tmp_path / "city.html").exists()


def test_origins_are_told_of_everything(records_dir):
    origins = city.origins_of(RecordSource(records_dir).manifest)
    assert [one["what"] for one in origins] == [
        "imagery", "POIs", "function", "population"
    ]  # fmt: skip
    assert origins[3]["year"] == "2020" and origins[0]["source"] == ""


def test_tiles_lie_around_their_regions():
    bounds = np.array([[0.0, 0.0, 64.0, 64.0], [10.0, 0.0, 60.0, 100.0]])
    boxes = content._tile_boxes(bounds, gsd_m=2.0, size_px=32)
    np.testing.assert_allclose(boxes[0], bounds[0])
    np.testing.assert_allclose(boxes[1], [-29, -14, 99, 114])  # two tiles a side
