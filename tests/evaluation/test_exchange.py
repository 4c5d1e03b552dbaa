"""Files for other programs: which of them are of an earlier run."""

import pytest

from mmgr_jax.evaluation import exchange


@pytest.mark.parametrize(
    ("formats", "old"),
    [
        ((), ["a.tif", "a_predicted_class.tif", "regions.gpkg", "regions.pmtiles"]),
        (("gpkg",), ["a.tif", "a_predicted_class.tif", "regions.pmtiles"]),
        (("cog", "pmtiles"), ["regions.gpkg"]),
        (("cog", "gpkg", "pmtiles"), []),
    ],
)
def test_files_that_nobody_asked_for_again_are_of_an_earlier_run(
    tmp_path, formats, old
):
    for name in ("a.tif", "a_predicted_class.tif", "regions.gpkg", "regions.pmtiles",
                 "a.png", "a.qml"):  # fmt: skip
        (tmp_path / name).touch()
    assert [path.name for path in exchange.stale(tmp_path, formats)] == old
