"""Earlier records read by the later year's encoder."""

import numpy as np
import pytest
from small_records import config_of, write_records

from mmgr_jax import run_settings, settings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets, inference, mapped_city, two_years
from mmgr_jax.evaluation.settings import ReadoutSettings

CHANGED = 13


def _changed(tiles):
    """A light that leaves all tiles but one."""
    number = iter(range(1000))

    def light(tile):
        if next(number) != CHANGED:
            return tile
        tiles.append(tile)
        return (255 - tile // 2).astype(np.uint8)

    return light


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """Two years with one tile of another kind, read by a network of random weights."""
    root = tmp_path_factory.mktemp("two")
    folders = [root / "before", root / "now"]
    for folder in folders:
        folder.mkdir()
    write_records(folders[0], rows=6)
    write_records(folders[1], rows=6, light=_changed([]))
    config = config_of(folders[1], root)
    source = RecordSource(folders[1])
    city = feature_sets.EvaluatedCity.of(source)
    encoder = inference.random_encoder(config, source)
    readout = feature_sets.Readout(config, city)
    encoded = readout.encoded(encoder)
    mapped = mapped_city.MappedCity(
        city=city,
        encoder=encoder,
        encoded=encoded,
        features=encoded["image"],
        heads=mapped_city.MappedHeads(),
        read_by_heads={},
        made_by={},
        readout=settings.read(ReadoutSettings, config.readout, "readout"),
    )
    assert run_settings.read(config).workdir
    return config, mapped, RecordSource(folders[0]), root


def test_the_changed_region_stands_out(years):
    config, mapped, before, _ = years
    since = two_years.compare(config, mapped, before)
    assert since.pairs.by_name == 48 and since.pairs.alone == (0, 0)
    assert since.change.null == "half" and since.named == 0
    assert since.change.factor.argmax() == CHANGED
    assert since.change.factor[CHANGED] > 3
    assert since.change.p_value.argmin() == CHANGED
    again = two_years.compare(config, mapped, before)
    np.testing.assert_array_equal(again.change.factor, since.change.factor)


def test_regions_named_by_a_table(years):
    config, mapped, before, root = years
    ids = mapped.city.regions.region_ids
    path = root / "known.csv"
    path.write_text("region_id,why\n" + "".join(f"{one},x\n" for one in ids[20:]))
    since = two_years.compare(config, mapped, before, path)
    assert since.named == 28 and since.change.null == "named"
    assert np.isnan(since.change.p_value[20:]).all()
    assert since.change.p_value[CHANGED] == pytest.approx(1 / 29)
    path.write_text("id\n1\n")
    with pytest.raises(InputError, match="no column 'region_id'; its columns are id"):
        two_years.compare(config, mapped, before, path)
    path.write_bytes(b"\xff\xfe\x00region_id\n")
    with pytest.raises(InputError, match="known.csv"):
        two_years.compare(config, mapped, before, path)
    with pytest.raises(InputError, match="cannot be read as a CSV"):
        two_years.compare(config, mapped, before, root / "none.csv")


def test_other_places_are_refused(years, tmp_path):
    config, mapped, _, _ = years
    write_records(tmp_path, rows=6, tile_size_m=64.0, city="elsewhere")
    far = RecordSource(tmp_path)
    object.__setattr__(far.manifest, "crs", "EPSG:32631")
    with pytest.raises(InputError, match="none of its 48 regions lies where one"):
        two_years.compare(config, mapped, far)
