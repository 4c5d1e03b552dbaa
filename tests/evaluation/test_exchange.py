"""Files for other programs: which of them are of an earlier run."""

import pytest

from mmgr_jax.evaluation import exchange


@pytest.mark.parametrize(
    ("formats", "old"),
    [
        (
            ("stac",),
            [
                "a.tif",
                "a_predicted_class.tif",
                "projector",
                "regions.gpkg",
                "regions.pmtiles",
            ],
        ),
        (
            ("gpkg", "stac", "projector"),
            ["a.tif", "a_predicted_class.tif", "regions.pmtiles"],
        ),
        (("cog", "projector", "pmtiles"), ["collection.json", "regions.gpkg"]),
        (("cog", "gpkg", "stac", "projector", "pmtiles"), []),
    ],
)
def test_files_that_nobody_asked_for_again_are_of_an_earlier_run(
    tmp_path, formats, old
):
    for name in ("a.tif", "a_predicted_class.tif", "regions.gpkg", "regions.pmtiles",
                 "a.png", "a.qml"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "collection.json").touch()
    (tmp_path / "projector").mkdir()
    assert [path.name for path in exchange.stale(tmp_path, formats)] == old
