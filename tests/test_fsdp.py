"""State split over devices: what lies where, and that nothing else changes."""

import os
import re
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import config_dict

from mmgr_jax import settings
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings, ShardingSettings
from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint
from mmgr_jax.train import experiment, run_step
from mmgr_jax.train.settings import TrainingSettings

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "MMGR_REWRITE_GOLDEN"


def abstract_state(config, mesh):
    """Shapes and layouts of a config's state; nothing is computed."""
    metadata = checkpoint.Metadata({}, tuple(map(str, range(400))), 64)
    step = run_step.build(
        TrainingSettings.of(config), mesh, metadata, steps_per_epoch=200, num_slots=256
    )
    state = jax.eval_shape(step.init)
    return state, sharding.lay_out(
        state, mesh, settings.read(ShardingSettings, config.sharding, "sharding")
    )


def table(state, layouts):
    """A line for each kind of array: path, shape, layout, how many there are."""
    lines = Counter()
    leaves = jax.tree.leaves_with_path(state)
    for (path, leaf), layout in zip(leaves, jax.tree.leaves(layouts), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        name = re.sub(r"(blocks|layer\d)_\d+", r"\1_*", name)
        spec = ", ".join(map(str, layout.spec)) or "whole"
        lines[f"{name}  {list(leaf.shape)}  {spec}"] += 1
    return "".join(f"{line}  x{count}\n" for line, count in lines.items())


@pytest.mark.parametrize("encoder", ["vit_base16", "resnet50"])
def test_where_parameters_and_optimiser_state_lie(encoder):
    from configs import shanghai

    config = shanghai.get_config("large_batch")
    config.model.image_encoder = config_dict.ConfigDict({"name": encoder})
    config.mesh.fsdp = 4
    mesh = sharding.make_mesh(settings.read(MeshSettings, config.mesh, "mesh"))
    state, layouts = abstract_state(config, mesh)
    file = GOLDEN / f"sharding_{encoder}.txt"
    if os.environ.get(REWRITE):
        file.write_text(table(state, layouts))
    assert table(state, layouts) == file.read_text(), (
        f"the layout has changed; if it should, run once with {REWRITE}=1 and look at "
        "the difference"
    )
    held = sum(
        np.prod(layout.shard_shape(leaf.shape))
        for leaf, layout in zip(
            jax.tree.leaves(state), jax.tree.leaves(layouts), strict=True
        )
    )
    assert held < 0.27 * sum(leaf.size for leaf in jax.tree.leaves(state))


def config_on(records_dir, **mesh):
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.records.dir, config.augment.size_px = str(records_dir), 32
    config.mesh.update(mesh)
    config.data.batch_size = 32
    config.optim.name, config.optim.schedule = "adam", "constant"
    config.optim.learning_rate, config.optim.warmup = 1e-3, "0 steps"
    config.sharding.min_size = 256
    return config


def steps_of(config, count=3):
    """Metrics of some steps and the state after them."""
    run = experiment.build(config)
    state, batches, told = run.init(), run.batches(), []
    for _ in range(count):
        state, values = run.step(state, run.put(next(batches)))
        told.append(jax.device_get(values))
    return told, state


@pytest.mark.slow
def test_split_state_trains_as_whole_state_does(records_dir):
    expected, whole = steps_of(config_on(records_dir, data=1))
    told, split = steps_of(config_on(records_dir, data=2, fsdp=4))
    for values, others in zip(told, expected, strict=True):
        for name in ("loss", "gradient_norm"):
            np.testing.assert_allclose(values[name], others[name], rtol=2e-4)
    held = [
        leaf.addressable_shards[0].data.size / leaf.size
        for leaf in jax.tree.leaves(split.opt_state)
        if leaf.size >= 256
    ]
    assert np.mean(np.isclose(held, 0.25)) > 0.9
    for leaf, other in zip(
        jax.tree.leaves(split.params), jax.tree.leaves(whole.params), strict=True
    ):
        assert leaf.shape == other.shape


def test_a_rule_decides_for_the_arrays_it_is_found_in(records_dir):
    config = config_on(records_dir, data=2, fsdp=4)
    config.sharding.rules = (("^params/", "whole"), ("^opt_state/", "fsdp"))
    state, layouts = abstract_state(
        config, sharding.make_mesh(settings.read(MeshSettings, config.mesh, "mesh"))
    )
    assert all(layout.is_fully_replicated for layout in jax.tree.leaves(layouts.params))
    sizes = [
        leaf.size for leaf, layout in zip(
            jax.tree.leaves(state.opt_state), jax.tree.leaves(layouts.opt_state),
            strict=True,
        ) if layout.is_fully_replicated
    ]  # fmt: skip
    assert sizes and max(sizes) < 1000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"rules": (("^params", "split"),)},
            "sharding.rules=.*; allowed: 'fsdp' or 'whole'",
        ),
        ({"rules": (("^parms/", "fsdp"),)}, "'^parms/' matches no path of a parameter"),
        ({"rules": (("(", "fsdp"),)}, r"'\(' is no regular expression"),
    ],
)
def test_rules_that_say_nothing_are_refused(changed, message, records_dir):
    config = config_on(records_dir, data=2)
    with pytest.raises(InputError, match=message.replace("^", r"\^")):
        config.sharding.update(changed)
        experiment.build(config)


@pytest.mark.parametrize(("data", "fsdp"), [(3, 3), (-1, 3), (2, 0)])
def test_groups_that_do_not_fit_are_refused(data, fsdp):
    with pytest.raises(InputError, match=f"fsdp={fsdp}, but 8 devices are available"):
        sharding.make_mesh(MeshSettings(data=data, fsdp=fsdp))
