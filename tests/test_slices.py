"""Several slices: what a compiled step sends between them, and in which order."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import small_sets
from jax.experimental import mesh_utils
from test_plan import _run
from test_sharding import Device

from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.planning import hlo, report, slices, topology

TWO = [0, 0, 0, 0, 1, 1, 1, 1]
MIXED = [0, 1, 0, 1, 0, 1, 0, 1]


def losses(implementation):
    """The text of the losses on eight devices; 16 numbers a vector, 64 regions."""
    mesh = sharding.make_mesh(MeshSettings(data=8))
    loss = small_sets.loss_with_gradient(mesh=mesh, implementation=implementation)
    shapes = (*small_sets.regions(64), jax.numpy.float32(1.0))
    jitted = jax.jit(loss, in_shardings=small_sets.layouts(mesh))
    return jitted.lower(*shapes).compile().as_text()


def test_a_ring_goes_from_slice_to_slice_once_for_each():
    permutes = [
        exchange
        for exchange in hlo.exchanges(losses("ring"))
        if exchange.kind == "collective-permute"
    ]
    assert permutes
    for exchange in permutes:
        for slice_of, crossings in ((TWO, 2), (MIXED, 8), ([0] * 8, 0)):
            count, sent = slices.exchanged(_one(exchange), slice_of)
            assert np.count_nonzero(sent) == crossings and count == bool(crossings)
            assert set(sent) <= {0, exchange.total_bytes}


def _one(exchange):
    """A program of this exchange alone."""
    return f"ENTRY %main (p: f32[]) -> f32[] {{\n{exchange.line}\n}}\n"


def test_a_gather_brings_each_slice_what_the_others_hold():
    text = losses("gathered")
    (*gathers,) = [e for e in hlo.exchanges(text) if e.kind == "all-gather"]
    assert len(gathers) == 3
    for exchange in gathers:
        _, sent = slices.exchanged(_one(exchange), TWO)
        # Half of the array goes each way, shared out over four devices.
        np.testing.assert_allclose(sent, exchange.total_bytes / 2 / 4)
        assert exchange.total_bytes % 64 == 0


LINES = {
    "all-reduce": ("f32[100]", 2 * 0.5 * 400 / 4),  # a quarter there, a quarter back
    "reduce-scatter": ("f32[100]", 400),  # of 800 numbers, a quarter of a half
    "all-gather": ("f32[800]", 3200 / 8),
    "all-to-all": ("f32[800]", 1600),
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize(
    "groups", ["{}", "{{0,1,2,3,4,5,6,7}}", "[1,8]<=[8]", "[1,8]<=[2,4]T(1,0)"]
)
def test_what_crosses_is_what_a_hierarchical_exchange_sends(kind, groups):
    shape, expected = LINES[kind]
    line = f"  %x = {shape}{{0}} {kind}(%p), channel_id=1, replica_groups={groups}"
    text = f"ENTRY %main (p: f32[]) -> f32[] {{\n{line}\n}}\n"
    count, sent = slices.exchanged(text, TWO)
    assert count == 1
    np.testing.assert_allclose(sent, expected)


@pytest.mark.parametrize(
    "groups", ["{{0,1,2,3},{4,5,6,7}}", "[2,4]<=[8]", "[4,2]<=[8]"]
)
def test_what_stays_in_a_slice_is_not_counted(groups):
    line = f"  %x = f32[8]{{0}} all-reduce(%p), replica_groups={groups}, to_apply=%a"
    text = f"ENTRY %main (p: f32[]) -> f32[] {{\n{line}\n}}\n"
    assert slices.exchanged(text, TWO)[0] == 0
    across = text.replace(groups, "[4,2]<=[2,4]T(1,0)")
    np.testing.assert_allclose(slices.exchanged(across, TWO)[1], 2 * 0.5 * 32)


def test_rounds_of_a_loop_count():
    text = """
%body (c: (s32[], f32[4])) -> (s32[], f32[4]) {
  %moved = f32[4]{0} collective-permute(%c), source_target_pairs={{0,1},{1,0}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %loop = (s32[], f32[4]) while(%t), condition=%no, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""  # noqa: E501
    count, sent = slices.exchanged(text, [0, 1])
    assert count == 5 and list(sent) == [80, 80]


SENDS = """
%body (c: (s32[], f32[3,16,128])) -> (s32[], f32[3,16,128]) {
  %send.12 = (f32[3,16,128]{2,1,0:T(8,128)}, u32[], token[]) send(%x, %after), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="ppermute.27_0",_xla_megascale_target={{100003->200000},{200003->100000}},_xla_megascale_transfer_type="ONE_TO_ONE"}, backend_config={}
  %inside = f32[3,16,128]{2,1,0} collective-permute(%x), source_target_pairs={{0,1},{1,2},{2,3}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %loop = (s32[], f32[3,16,128]) while(%t), condition=%no, body=%body, backend_config={"known_trip_count":{"n":"8"}}
  %send = (s32[1,128]{1,0:T(1,128)}, u32[], token[]) send(%y, %after), channel_id=7, is_host_transfer=true, frontend_attributes={_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}, backend_config={}
  %send.1 = (bf16[16,128]{1,0}, u32[], token[]) send(%z, %after), channel_id=5, is_host_transfer=true, frontend_attributes={_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_GATHER"}, backend_config={}
  %sum = s32[1,128]{1,0} all-reduce(%y), replica_groups={{0,1,2,3}}, to_apply=%add
}
"""  # noqa: E501


def test_sends_of_a_tpu_program_are_what_crosses():
    """As libtpu writes them, of two slices of four chips."""
    ids = [100000 + k for k in range(4)] + [200000 + k for k in range(4)]
    count, sent = slices.exchanged(SENDS, TWO, ids)
    assert count == 8 + 1 + 1
    always = 2 * 0.5 * 128 * 4 + 16 * 128 * 2
    ring = 8 * 3 * 16 * 128 * 4
    np.testing.assert_allclose(sent, [always] * 3 + [always + ring] + [always] * 3
                               + [always + ring])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Chip(Device):
    """What a hybrid mesh looks at, too."""

    coords: tuple[int, int, int] = (0, 0, 0)
    core_on_chip: int = 0
    device_kind: str = "TPU v4"


def test_the_outer_axis_is_that_of_a_hybrid_mesh():
    devices = [
        Chip(s * 4 + d // 4, s * 16 + d, s, coords=(d % 4, d // 4, 0))
        for s in (1, 0)
        for d in range(16)
    ]
    ours = sharding.make_mesh(MeshSettings(fsdp=4), devices).devices
    theirs = mesh_utils.create_hybrid_device_mesh((4, 4), (2, 1), devices)
    assert ours.shape == theirs.shape == (8, 4)
    number = np.vectorize(lambda device: device.slice_index)
    np.testing.assert_array_equal(number(ours), number(theirs))


def test_slices_of_the_devices_here_cannot_be_chosen():
    with pytest.raises(InputError, match="--num_slices=2: name the shape of a slice"):
        topology.mesh_of(topology.HERE, MeshSettings(), 2)


def test_a_plan_says_what_crosses():
    crossing = slices.Crossing(2, 5, 1e6, 2.5e6, 25.0, 8e-4)
    assert report._between_slices(crossing) == [
        "between 2 slices, over their hosts' network",
        "  5 of the exchanges: 1.00 MB a chip, 2.50 by the chip that sends most; "
        "0.80 ms at 25 Gbit/s a chip, which the time below leaves out",
    ]
    assert report._between_slices(None) == []


@pytest.mark.slow  # compiles for 16 chips
def test_two_slices_with_libtpu(tmp_path):
    pytest.importorskip("libtpu")
    given = ("--json", "--topology=v5e:2x4", "--num_slices=2", "--num_regions=64")
    result = _run(tmp_path, *given)
    assert result.returncode == 0, result.stderr
    fields = json.loads(result.stdout)
    assert fields["num_devices"] == 16
    assert fields["crossing"]["num_slices"] == 2
    crossing = fields["crossing"]
    # The gradient is the most of it: its share of each of the eight chips of a slice.
    (total,) = (e for e in fields["exchanges"] if e["kind"] == "all-reduce")
    assert crossing["mean_bytes"] == crossing["most_bytes"]
    assert total["total_bytes"] / 8 < crossing["mean_bytes"] < total["total_bytes"]
    assert crossing["seconds"] == pytest.approx(8 * crossing["mean_bytes"] / 25e9)
