"""The mesh: whose rows lie where, what is refused, and what travels in a step."""

import dataclasses
import os

import forks
import jax
import jax.numpy as jnp
import numpy as np
import optax
import processes
import pytest
from small_model import D, K
from test_train_step import AUGMENT, LOSS, SIZE_PX, batch

from mmgr_jax.devices import distributed, sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.models import mmgr, norm, resnet
from mmgr_jax.models.settings import ModelSettings, Set2SetSettings
from mmgr_jax.planning import hlo
from mmgr_jax.train import step as train_step


@dataclasses.dataclass(frozen=True)
class Device:
    """As much of a device as a mesh looks at."""

    process_index: int
    id: int
    slice_index: int = 0
    platform: str = "tpu"


def places(mesh):
    return [(d.slice_index, d.process_index, d.id) for d in mesh.devices.ravel()]


def test_rows_go_slice_by_slice_and_process_by_process():
    """On a torus the numbers of devices wind through the hosts."""
    devices = [Device(p, d) for d, p in enumerate([0, 0, 1, 1, 0, 0, 1, 1])]
    mesh = sharding.make_mesh(MeshSettings(data=-1), devices)
    assert [d.process_index for d in mesh.devices.ravel()] == [0] * 4 + [1] * 4
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1}

    slices = [
        Device(p, d, s) for d, (p, s) in enumerate([(2, 1), (0, 0), (3, 1), (1, 0)])
    ]
    mesh = sharding.make_mesh(MeshSettings(data=-1), slices)
    assert places(mesh) == [(0, 0, 1), (0, 1, 3), (1, 2, 0), (1, 3, 2)]


def test_a_group_that_shares_state_lies_in_one_slice():
    devices = [Device(d // 4, d, d // 6) for d in range(12)]
    mesh = sharding.make_mesh(MeshSettings(fsdp=3), devices)
    for group in mesh.devices:
        assert len({device.slice_index for device in group}) == 1
    text = sharding.describe_batch(mesh, 24, None)
    assert text.startswith("24 over 12 tpu devices of 2 slices (8 in each of 3 proc")
    with pytest.raises(InputError, match="fsdp=4: .* two slices, with 6 devices each"):
        sharding.make_mesh(MeshSettings(fsdp=4), devices)


def test_several_processes_take_equally_many_devices():
    devices = [Device(d // 4, d) for d in range(8)]
    mesh = sharding.make_mesh(MeshSettings(data=4), devices)
    assert [(d.process_index, d.id) for d in mesh.devices.ravel()] == [
        (0, 0), (0, 1), (1, 4), (1, 5),
    ]  # fmt: skip
    with pytest.raises(
        InputError, match="8 devices are available in 2 processes. Take a multiple of 2"
    ):
        sharding.make_mesh(MeshSettings(data=3), devices)


def test_who_encodes_what_in_words():
    devices = [Device(d // 4, d) for d in range(8)]
    mesh = sharding.make_mesh(MeshSettings(data=-1), devices)
    assert sharding.describe_batch(mesh, 64, 16) == (
        "64 over 8 tpu devices (32 in each of 2 processes, 8 on each, "
        "2 there at a time)"
    )
    one = sharding.make_mesh(MeshSettings(data=1))
    assert sharding.describe_batch(one, 64, None) == "64 over 1 cpu device"


def test_parts_of_a_batch_are_checked_with_it():
    mesh = sharding.make_mesh(MeshSettings(data=4))
    sharding.check_batch(mesh, 64, 16)
    with pytest.raises(InputError, match="over 4 devices. Take 60 or 64"):
        sharding.check_batch(mesh, 62)
    with pytest.raises(InputError, match="microbatch_size=24 does not divide"):
        sharding.check_batch(mesh, 64, 24)


DEVICES = 8


def compiled_step(scope, batch_statistics, microbatches=1):
    """The text of a compiled step of a small ResNet on eight devices."""
    mesh = sharding.make_mesh(MeshSettings(data=DEVICES))
    settings = ModelSettings(
        image_encoder={"name": "resnet_small", "width": 8},
        poi_encoder=Set2SetSettings(steps=1),
        projection_dim=16,
        batch_statistics=batch_statistics,
    )
    model = mmgr.build(settings, num_categories=K, category_dim=D).clone(
        image_encoder=resnet.ResNet(
            (1, 1), width=8, norm_over=norm.devices(scope, DEVICES)
        )
    )
    tx = optax.sgd(1.0)
    key = jax.random.key(0, impl="rbg")
    state = jax.eval_shape(lambda: train_step.init_state(model, tx, key, 6, SIZE_PX))
    step = train_step.make_train_step(
        model,
        tx,
        augment=AUGMENT,
        loss=LOSS,
        gradient_dtype="float32",
        microbatches=microbatches,
        mesh=mesh,
    )
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    leaves, tree = jax.tree.flatten(state)  # whose types the tests check
    jitted = jax.jit(
        lambda leaves, *given: step(jax.tree.unflatten(tree, leaves), *given),
        in_shardings=(whole, rows, whole),
        out_shardings=whole,
    )
    lowered = jitted.lower(leaves, batch(), jax.eval_shape(lambda: jax.random.key(0)))
    quick = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    return lowered.compile(compiler_options=quick).as_text()


@pytest.mark.parametrize(
    ("batch_statistics", "microbatches"),
    [
        ("joint", 1),
        pytest.param("per_view", 1, marks=pytest.mark.slow),
        pytest.param("joint", 2, marks=pytest.mark.slow),
    ],
)
def test_five_exchanges_a_step_with_local_statistics(batch_statistics, microbatches):
    """Micro-batches add none: gradients are summed after the last of them."""
    found = hlo.collectives(compiled_step("local", batch_statistics, microbatches))
    counts = {exchange.kind: exchange.count for exchange in found}
    assert counts["all-gather"] == 3  # the losses'
    assert set(counts) == {"all-gather", "all-reduce"}
    assert counts["all-reduce"] <= 2


@pytest.mark.slow
def test_each_norm_travels_with_global_statistics():
    norms = 6
    found = hlo.collectives(compiled_step("global", "joint"))
    counts = {exchange.kind: exchange.count for exchange in found}
    assert counts["all-reduce"] >= 2 * norms


def test_the_rows_of_a_process_are_its_part_of_the_batch():
    mesh = sharding.make_mesh(MeshSettings(data=4))
    rows = np.arange(8).reshape(8, 1)
    put = sharding.put_batch({"image": rows, "region_index": rows}, mesh)
    assert set(put) == {"image"}
    np.testing.assert_array_equal(put["image"], rows)
    shards = sorted(put["image"].addressable_shards, key=lambda s: s.index[0].start)
    assert [int(shard.data[0, 0]) for shard in shards] == [0, 2, 4, 6]
    assert [shard.device for shard in shards] == list(mesh.devices.ravel())
    assert put["image"].dtype == jnp.asarray(rows).dtype


def test_a_cpu_is_parted_into_devices_unless_the_environment_says_how():
    code = (
        "from mmgr_jax.devices import distributed; distributed.use_cpu_devices(2); "
        "import jax; print(jax.device_count())"
    )
    for flags, expected in (("", "2"), (processes.devices_flag(3), "3")):
        told = forks.run("-c", code, env=os.environ | {"XLA_FLAGS": flags})
        assert told.stdout.strip() == expected
    for wrong in (0, -1):
        with pytest.raises(InputError, match="config.cpu_devices="):
            distributed.use_cpu_devices(wrong)
