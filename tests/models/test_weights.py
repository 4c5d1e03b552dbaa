"""Exchange with PyTorch state dicts by name: layouts, counters, faults listed at once.

The exchange of whole encoders with torchvision and timm is in test_parts.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.errors import InputError
from mmgr_jax.models import resnet, weights


@pytest.fixture(scope="module")
def variables():
    """Every leaf different, so that a swap cannot pass."""
    model = resnet.resnet18(width=8)
    like = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)), train=True),
        jax.random.key(0),
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), like
    )


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("counters", [False, True])
def test_round_trip(variables, counters):
    state_dict = weights.to_torch(variables, counters=counters)
    assert_same(weights.from_torch(state_dict, variables), variables)


def test_names_and_layout_are_torchvision_s(variables):
    state_dict = weights.to_torch(variables)
    kernel = variables["params"]["layer2_0"]["downsample_0"]["kernel"]
    np.testing.assert_array_equal(
        state_dict["layer2.0.downsample.0.weight"], kernel.transpose(3, 2, 0, 1)
    )
    np.testing.assert_array_equal(
        state_dict["layer4.1.bn2.running_var"],
        variables["batch_stats"]["layer4_1"]["bn2"]["var"],
    )


def test_every_batch_norm_has_a_counter_where_asked_for(variables):
    without = weights.to_torch(variables)
    state_dict = weights.to_torch(variables, counters=True)
    counters = {name: state_dict[name] for name in state_dict.keys() - without.keys()}
    norms = {n.removesuffix("running_mean") for n in without if "running_mean" in n}
    assert counters.keys() == {f"{norm}num_batches_tracked" for norm in norms}
    for value in counters.values():
        assert (value.dtype, value.shape, value) == (np.int64, (), 0)


def test_classifier_and_counters_are_left_out(variables):
    state_dict = weights.to_torch(variables)
    state_dict["fc.weight"] = np.zeros((1000, 64))
    state_dict["bn1.num_batches_tracked"] = np.array(7)
    result = weights.from_torch(state_dict, variables, ignore=(weights.CLASSIFIER,))
    assert_same(result, variables)


def test_all_faults_are_listed(variables):
    state_dict = weights.to_torch(variables)
    del state_dict["bn1.weight"]
    state_dict["conv1.weight"] = np.zeros((8, 3, 3, 3))
    state_dict["layer9.0.conv1.weight"] = np.zeros((1,))
    with pytest.raises(InputError) as error:
        weights.from_torch(state_dict, variables)
    message = str(error.value)
    assert "missing: bn1.weight (8,)" in message
    assert "shape of conv1.weight: (8, 3, 3, 3), expected (8, 3, 7, 7)" in message
    assert "unexpected: layer9.0.conv1.weight" in message
    assert message.count("\n") == 3


def test_kept_leaves_come_from_the_template():
    like = {
        "params": {"head": {"kernel": np.ones((2, 3))}, "table": np.full((4, 5), 7)}
    }
    state_dict = {"head.weight": np.arange(6.0).reshape(3, 2)}
    result = weights.from_torch(state_dict, like, keep=("table",))
    np.testing.assert_array_equal(result["params"]["table"], like["params"]["table"])
    np.testing.assert_array_equal(
        result["params"]["head"]["kernel"], state_dict["head.weight"].T
    )
