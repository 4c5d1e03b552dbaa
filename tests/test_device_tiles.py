"""Tiles in the devices' memory: the same batches and the same training."""

import jax
import numpy as np
import pytest

from mmgr_jax import settings
from mmgr_jax.data import pipeline
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding, tiles
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.train import experiment


@pytest.mark.parametrize("devices", [1, 4])
def test_batches_are_those_that_travel(records_dir, devices, monkeypatch):
    monkeypatch.setattr(tiles, "_PART", 16)  # 40 tiles in three parts
    source = RecordSource(records_dir)
    mesh = sharding.make_mesh(MeshSettings(data=devices))
    put = tiles.put(source, mesh, 2)
    data = DataSettings(batch_size=16, num_threads=2, short_batch="drop")
    travelling = pipeline.training_batches(source, data, seed=0)
    staying = pipeline.training_batches(source, data, seed=0, images=False)
    for _ in range(5):
        expected = sharding.put_batch(next(travelling), mesh)
        batch = next(staying)
        assert "image" not in batch
        batch = put(batch)
        assert batch.keys() == expected.keys()
        for name, values in expected.items():
            assert batch[name].sharding.is_equivalent_to(values.sharding, values.ndim)
            assert batch[name].dtype == values.dtype
            np.testing.assert_array_equal(batch[name], values)


def test_training_is_the_same_bit_for_bit(small_config):
    told = {}
    for mode in ("off", "on"):
        small_config.data.device_resident = mode
        run = experiment.build(small_config)
        state, batches, told[mode] = run.init(), run.batches(), []
        for _ in range(3):
            state, values = run.step(state, run.put(next(batches)))
            told[mode].append(jax.device_get(values))
    assert told["on"] == told["off"]


def test_auto_asks_for_a_quarter_of_the_memory():
    assert tiles.choose("auto", 100, [400, 900])
    assert not tiles.choose("auto", 100, [900, 399])
    assert not tiles.choose("auto", 100, [None])  # a CPU
    assert tiles.choose("on", 100, [None])
    assert not tiles.choose("off", 100, [900])
    with pytest.raises(InputError, match="device_resident='on': the tiles take"):
        tiles.choose("on", 100, [99])
    with pytest.raises(InputError, match="device_resident='yes'; allowed: 'auto', 'on"):
        settings.read(DataSettings, {"device_resident": "yes"}, "data")
