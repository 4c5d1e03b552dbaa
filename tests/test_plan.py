"""Planning: what a compiled step tells, the arithmetic on it, and what can go wrong."""

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import forks
import jax
import processes
import pytest
import small_records

from mmgr_jax import settings
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning import (
    chips,
    estimate,
    fit,
    hlo,
    planner,
    program,
    report,
    topology,
    traffic,
)
from mmgr_jax.planning import records as planned_records
from mmgr_jax.train import experiment

ROOT = Path(__file__).parents[1]
SMOKE = f"--config={ROOT}/configs/toy_city.py:smoke"
ASSUMED = dict(num_regions=64, max_pois=12, num_categories=5)

TEXT = """HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%wrapped (q: f32[8]) -> f32[8] {
  ROOT %rs = f32[8]{0:T(256)} reduce-scatter(%q), replica_groups={}, to_apply=%add
}

%body (carry: (s32[], f32[64])) -> (s32[], f32[64]) {
  %moved = (f32[4,2]{1,0:T(8,128)}, f32[4,2]{1,0}, u32[], u32[]) collective-permute-start(%c)
  %done = f32[4,2]{1,0} collective-permute-done(%moved)
  %small = (f32[64]{0:T(256)S(1)}, bf16[64]{0}) all-reduce(%a, %b), to_apply=%add
}

%condition (carry: (s32[], f32[64])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%overlapped.1 (g: f32[32]) -> f32[32] {
  ROOT %piece.1 = f32[256]{0:T(256)} all-gather(%g), channel_id=3, dimensions={0}, frontend_attributes={chain_id="0"}
}

%overlapped.2 (g: f32[32]) -> f32[32] {
  ROOT %piece.2 = f32[256]{0:T(256)} all-gather(%g), channel_id=3, dimensions={0}, frontend_attributes={chain_id="0"}
}

%ends (carry: (s32[], f32[64])) -> pred[] {
  %bound = s32[]{:T(128)} constant(7)
  ROOT %less = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%round (carry: (s32[], f32[64])) -> (s32[], f32[64]) {
  %each = f32[2]{0:T(256)} all-to-all(%v), dimensions={0}
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %one = f32[256]{0} fusion(%p), kind=kCustom, calls=%overlapped.1
  %two = f32[256]{0} fusion(%one), kind=kCustom, calls=%overlapped.2
  %short = (s32[], f32[64]) while(%u), condition=%ends, body=%round
  %gather = (bf16[2,128]{1,0}, bf16[16,128]{1,0}) all-gather-start(%p), dimensions={0}
  %gathered = bf16[16,128]{1,0} all-gather-done(%gather)
  %loop = (s32[], f32[64]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %fused = f32[8]{0} fusion(%p), kind=kCustom, calls=%wrapped
  ROOT %total = f32[16]{0} all-reduce(%p), to_apply=%add
}
"""  # noqa: E501


def test_exchanges_are_counted_by_kind_size_and_round():
    found = {each.kind: each for each in hlo.collectives(TEXT)}
    assert {kind: (each.count, each.total_bytes) for kind, each in found.items()} == {
        # five rounds of a pair in one, and one outside
        "all-reduce": (6, 5 * (64 * 4 + 64 * 2) + 16 * 4),
        # one outright, and one in two pieces
        "all-gather": (2, 16 * 128 * 2 + 256 * 4),
        "reduce-scatter": (1, 8 * 4),
        "collective-permute": (5, 5 * 4 * 2 * 4),
        "all-to-all": (7, 7 * 2 * 4),  # the condition tells the rounds
    }


ON_CHIP = """HloModule jit_step, is_scheduled=true

%fused (a: f32[100], b: f32[100]) -> f32[100] {
  ROOT %product = f32[100]{0:T(256)} multiply(%a, %b)
}

%ends (c: (s32[], f32[100])) -> pred[] {
  %bound = s32[]{:T(128)S(6)} constant(3)
  ROOT %less = pred[]{:T(512)S(6)} compare(%i, %bound), direction=LT
}

%round (c: (s32[], f32[100])) -> (s32[], f32[100]) {
  %held = f32[100]{0:T(256)} get-tuple-element(%c), index=1
  %grown = f32[50]{0:T(256)S(1)} fusion(%held), kind=kLoop, calls=%fused
}

ENTRY %main (p: f32[100], q: f32[100]) -> f32[100] {
  %p = f32[100]{0:T(256)} parameter(0)
  %q = f32[100]{0:T(256)} parameter(1)
  %brought = (f32[100]{0:T(256)S(1)}, f32[100]{0:T(256)}, u32[]{:S(2)}) copy-start(%p)
  %here = f32[100]{0:T(256)S(1)} copy-done(%brought)
  %part = ((f32[100]{0:T(256)}), f32[25]{0:T(256)S(1)}, s32[]{:S(2)}) slice-start(%q), slice={[0:25]}
  %quarter = f32[25]{0:T(256)S(1)} slice-done(%part)
  %both = (f32[100]{0:T(256)S(1)}, bf16[100]{0:T(256)}) fusion(%here, %q), kind=kLoop, calls=%fused
  %loop = (s32[], f32[100]) while(%both), condition=%ends, body=%round
  ROOT %last = f32[100]{0:T(256)} copy(%here)
}
"""  # noqa: E501


def test_traffic_with_hbm_leaves_out_what_stays_on_the_chip():
    copies = 400 + 100  # one whole array in, then a quarter of another
    fusion = 400 + 200  # q and the half-width result; the rest stays
    loop = 3 * 400  # three rounds that each read the carried array
    assert traffic.hbm_bytes(ON_CHIP) == copies + fusion + loop + 400


MAPS = """HloModule jit_step

%fused (a: bf16[8,4,4,32]) -> f32[8,4,4,32] {
  ROOT %inner = f32[8,4,4,32]{3,2,1,0} convert(%a)
}

ENTRY %main (p: f32[8,4,4,64]) -> f32[4,2,2,16] {
  %p = f32[8,4,4,64]{3,2,1,0} parameter(0)
  %planes = f32[8,4,4,3]{3,2,1,0} fusion(%p), kind=kLoop, calls=%fused
  %views = f32[4,2,32,32]{3,2,1,0} fusion(%p), kind=kLoop, calls=%fused
  %kernel = f32[3,3,64,64]{3,2,1,0} convolution(%p, %p)
  %on_chip = f32[8,4,4,128]{3,2,1,0:S(1)} fusion(%p), kind=kLoop, calls=%fused
  %half = bf16[8,4,4,256]{3,2,1,0} fusion(%p), kind=kLoop, calls=%fused
  %map = (bf16[8,2,2,32]{3,2,1,0}, f32[8,2,2,32]{3,2,1,0}) fusion(%p), calls=%fused
  ROOT %tokens = f32[4,9,16]{2,1,0} copy(%map)
}
"""


def test_float32_maps_in_hbm_are_told_from_planes_kernels_and_what_stays():
    assert traffic.float32_maps(MAPS, rows=4) == [(4, 9, 16), (8, 2, 2, 32)]
    assert traffic.float32_maps(MAPS, rows=100) == []


def test_a_program_of_one_device_exchanges_nothing():
    text = jax.jit(lambda x: x @ x).lower(jax.numpy.ones((8, 8))).compile().as_text()
    assert hlo.collectives(text) == []


@pytest.mark.parametrize("axis_total, expected", [("sum", 4), ("rows", 4 * 16 * 3)])
def test_sizes_of_a_program_the_compiler_wrote(axis_total, expected):
    """A sum over all leaves one number everywhere; a gather leaves all 16 rows."""
    mesh = sharding.make_mesh(MeshSettings(data=8))
    whole, rows = sharding.replicated(mesh), sharding.split(mesh)
    work = {"sum": lambda x: x.sum(), "rows": lambda x: x + 1}[axis_total]
    jitted = jax.jit(work, in_shardings=rows, out_shardings=whole)
    shape = jax.ShapeDtypeStruct((16, 3), "float32")
    (found,) = hlo.collectives(jitted.lower(shape).compile().as_text())
    kind = {"sum": "all-reduce", "rows": "all-gather"}[axis_total]
    assert (found.kind, found.count, found.total_bytes) == (kind, 1, expected)


def test_roofline_takes_the_slowest_part_and_adds_losses_and_exchanges():
    chip = chips.Chip("x", 1.0, 100.0, 1000.0, 10.0, "here")  # 1e14, 1e12, 1e10
    work = estimate.work_of(
        part_flops=3e12,
        part_accessed_bytes=2e10,
        part_hbm_bytes=9e9,
        parts=2,
        rows=64,
        num_devices=4,
        projection_dim=128,
        loss=LossSettings(symmetric=True),
    )
    assert work.views == 128
    assert work.flops == pytest.approx(2 * 4 / 3 * 3e12)  # once more forward
    assert work.loss_flops == 9 * 6 * 128 * 64 * 256  # of 3 x 3 sets, 64 by 256
    exchanges = [
        hlo.Collective("all-reduce", 3, 1_000_000),
        hlo.Collective("all-gather", 1, 2_000_000),
    ]
    guess = estimate.estimate(work, exchanges, chip, batch_size=256, total_steps=900)
    assert guess.compute_s == pytest.approx(0.08)
    assert guess.memory_s == pytest.approx(0.024)
    assert guess.loss_s == pytest.approx(9 * 32 * 64 * 256 / 1e12)
    assert guess.exchange_s == pytest.approx((2 * 1e6 + 2e6) / 1e10)
    assert guess.step_s == pytest.approx(0.08 + guess.loss_s + 4e-4)
    assert guess.latency_s == pytest.approx(40e-6)
    alone_s = 0.08 + guess.loss_s / 4
    assert guess.weak_scaling == pytest.approx(alone_s / (guess.step_s + 40e-6))
    assert guess.tiles_per_s == pytest.approx(256 / guess.step_s)
    assert guess.hours == pytest.approx(guess.step_s / 4)


def test_losses_without_loops_are_not_counted_twice():
    counts = dict(part_flops=1.0, part_accessed_bytes=1.0, part_hbm_bytes=1.0)
    given = dict(**counts, parts=1, rows=2, num_devices=1)
    loss = LossSettings(implementation="dense")
    assert estimate.work_of(**given, projection_dim=8, loss=loss).loss_flops == 0
    assert estimate.ordered_pairs(symmetric=False) == 7  # views never meet all POIs


@pytest.mark.parametrize("fixed, slope", [(1.0, 0.05), (0.1, 0.2), (4.0, 1.0)])
def test_largest_fitting_part_is_the_true_one_in_few_compilations(fixed, slope):
    limit, asked = 16.0, []

    def measure(size):
        asked.append(size)
        used = fixed + slope * size
        return fit.Use(round(used * 1e6), used <= limit)

    sizes = fit.part_sizes(512)
    known = {512: measure(512)}
    largest = fit.largest_fitting(measure, sizes, 16_000_000, known)
    assert largest == max(s for s in sizes if fixed + slope * s <= limit)
    assert len(asked) <= 4


def test_no_part_may_fit():
    known = {8: fit.Use(10**9, False)}
    found = fit.largest_fitting(
        lambda size: fit.Use(10**9, False), fit.part_sizes(8), 10**6, known
    )
    assert found is None
    assert fit.part_sizes(12) == [3, 6, 12]


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for "
        "HLO temporaries (39.50G) exceeds available HBM (15.75G).",
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 39.50G of "
        "15.75G hbm. Exceeded hbm capacity by 23.75G.",
    ],
)
def test_the_compilers_refusal_is_read(message):
    refused = program.refused(message, 3.0)
    assert not refused.fits
    assert refused.peak_bytes == 39.5 * 2**30
    assert refused.limit_bytes == 15.75 * 2**30


def test_other_errors_of_the_compiler_are_passed_on():
    with pytest.raises(RuntimeError, match="INTERNAL"):
        program.refused("INTERNAL: something else", 3.0)


@pytest.fixture(scope="module")
def smoke():
    """The toy city's smoke config over the eight devices, without any records."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.records.dir = "absent"
    config.regions.tile_size_px = config.augment.size_px = 32
    config.data.batch_size = 32
    return config


def _run(folder, *arguments, devices=8):
    """The command as a user runs it; JAX's own trees do not pass checked annotations.

    libtpu wants a process of its own besides.
    """
    flags = f"{processes.QUICK} {processes.devices_flag(devices)}"
    environment = os.environ | {"XLA_FLAGS": flags}
    given = ("-m", "mmgr_jax.plan", SMOKE, *arguments)
    return forks.run(*given, cwd=folder, env=environment, timeout=1200)


def test_a_plan_for_the_devices_here(tmp_path):
    result = _run(
        tmp_path,
        "--json",
        "--config.data.batch_size=32",
        "--config.regions.tile_size_px=32",
        "--config.augment.size_px=32",
        *(f"--{name}={value}" for name, value in ASSUMED.items()),
    )
    assert result.returncode == 0, result.stderr
    fields = json.loads(result.stdout)
    assert fields["topology"] == "here"
    assert fields["num_devices"] == 8
    assert fields["records"]["assumed"]
    assert fields["total_steps"] == 4  # two epochs of 64 regions
    assert fields["microbatch_size"] == fields["largest_microbatch_size"] == 32
    assert "text" not in fields["planned"]
    asked = fields["asked"]
    assert 0 < asked["argument_bytes"] < asked["peak_bytes"]
    assert asked["temporary_bytes"] > 0
    assert fields["work"]["views"] == 8
    assert 1e6 < fields["work"]["hbm_bytes"] <= fields["work"]["accessed_bytes"]
    found = {each["kind"]: each for each in fields["exchanges"]}
    assert found["all-gather"]["count"] >= 1  # the losses' vectors
    # The gradient: Adam's two means are as large, and with the parameters and the
    # four rows of a batch they are what a step is given.
    rows_bytes = 4 * (32 * 32 * 3 + 16 * (4 + 8 + 1) + 1)
    parameter_bytes = (asked["argument_bytes"] - rows_bytes) / 3
    assert found["all-reduce"]["total_bytes"] > 0.9 * parameter_bytes
    assert fields["chip"] is fields["estimate"] is None  # of a CPU none is known


def test_the_planned_batch_is_the_pipelines(small_config):
    config = small_config
    config.model.poi_encoder = dict(
        name="gcn_set2set", vectors="frozen", empty="learnt"
    )
    records = planned_records.records_of(config, **ASSUMED)
    assert not records.assumed
    assert records.num_regions == 40
    assert records.tile_size_px == 32
    run = experiment.build(config)
    real = run.put(next(run.batches()))
    shapes = program.batch_shapes(config, records, edges="poi_edges" in real)
    assert shapes.keys() == real.keys()
    for name, shape in shapes.items():
        assert (shape.shape, shape.dtype) == (real[name].shape, real[name].dtype), name


@pytest.fixture
def one_gib(monkeypatch):
    """The CPU as a chip of 1 GiB, on which a row at a time takes 1/16 GiB."""
    chip = dataclasses.replace(chips.CHIPS["TPU v5 lite"], memory_gib=1.0)
    monkeypatch.setitem(chips.CHIPS, "cpu", chip)
    compiled = []

    def compile_step(config, mesh, records):
        whole = config.data.batch_size
        rows = (config.train.microbatch_size or whole) // mesh.devices.size
        used = chips.GIB // 8 + rows * chips.GIB // 16
        compiled.append((whole, config.train.microbatch_size))
        return program.Program(
            compile_s=1.0,
            argument_bytes=0,
            temporary_bytes=used,
            peak_bytes=used,
            limit_bytes=None,
            fits=True,
            flops=rows * 1e9,
            accessed_bytes=rows * 1e9,
            hbm_bytes=rows * 5e8,
            text=TEXT,
        )

    monkeypatch.setattr(program, "compile_step", compile_step)
    return compiled


def _plan(config):
    mesh = topology.mesh_of(
        topology.HERE, settings.read(MeshSettings, config.mesh, "mesh")
    )
    records = planned_records.records_of(config, **(ASSUMED | {"num_regions": 4096}))
    return planner.plan(
        config, mesh, records, topology=topology.HERE, dcn_gbit_per_s=25.0
    )


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_planned_in_the_largest_parts(smoke, one_gib):
    config = smoke.copy_and_resolve_references()
    config.data.batch_size = 1024
    found = _plan(config)
    assert found.fits is False
    assert found.largest_microbatch_size == found.microbatch_size == 64
    assert one_gib[-1] == (64, None)  # counts come from a program without a loop
    assert found.work.flops == pytest.approx(16 * 4 / 3 * 8e9)
    assert found.estimate.hours > 0
    page = report.page(found)
    assert "does not fit" in page
    assert "--config.train.microbatch_size=64" in page


@pytest.mark.slow
def test_micro_batches_that_fit_are_kept_and_the_largest_is_told(smoke, one_gib):
    config = smoke.copy_and_resolve_references()
    config.data.batch_size, config.train.microbatch_size = 1024, 16
    found = _plan(config)
    assert found.fits
    assert found.microbatch_size == 16
    assert found.largest_microbatch_size == 64


def test_a_batch_that_fits_is_compiled_once(smoke, one_gib):
    config = smoke.copy_and_resolve_references()
    config.data.batch_size = 64
    found = _plan(config)
    assert found.fits
    assert one_gib == [(64, None)]


def test_indivisible_batches_and_parts_name_sizes_that_fit(smoke):
    config = smoke.copy_and_resolve_references()
    config.data.batch_size = 36
    with pytest.raises(InputError, match="over 8 devices. Take 32 or 40"):
        _plan(config)
    config.data.batch_size, config.train.microbatch_size = 64, 24
    with pytest.raises(InputError, match="The nearest that do: 8, 16, 32"):
        _plan(config)
    config.data.batch_size, config.train.microbatch_size = 8192, None
    with pytest.raises(InputError, match="exceeds the 4096 regions"):
        _plan(config)


def test_a_slice_without_libtpu_names_the_requirements(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="requirements-plan.txt"):
        topology.mesh_of("v5e:2x4", MeshSettings())


@pytest.mark.slow
def test_a_slice_with_libtpu(tmp_path):
    pytest.importorskip("libtpu")
    result = _run(tmp_path, "--json", "--topology=v5e:2x4", "--num_regions=64")
    assert result.returncode == 0, result.stderr
    fields = json.loads(result.stdout)
    assert fields["device_kind"] == "TPU v5 lite"
    assert fields["num_devices"] == 8
    assert fields["fits"]
    assert fields["estimate"]["hours"] > 0
    assert any(each["kind"] == "all-reduce" for each in fields["exchanges"])
    result = _run(tmp_path, "--topology=v9:2x4")
    assert result.returncode == 2
    assert "v5e:16x16" in result.stderr


def test_a_corpus_that_is_not_there_is_planned_by_numbers(smoke):
    config = smoke.copy_and_resolve_references()
    config.regions.tile_size_px, config.records.image_format = 224, "jpeg"
    config.data.batch_size, config.train.total = 2048, "2 epochs"
    shown = planned_records.records_of(
        config, **(ASSUMED | {"num_regions": 1_000_003}), num_cities=100
    )
    assert shown.assumed and len(shown.sizes) == 100
    assert sum(shown.sizes) == 1_000_003 and set(shown.sizes) == {10_000, 10_001}
    a_region = 224 * 224 * 3 * 0.25 + 4000
    assert shown.stored_bytes == round(1_000_003 * a_region)
    found = planner.plan_by_rate(config, shown, regions_per_s=8000.0, num_hosts=2)
    assert found.length.steps_per_epoch == 489  # of 2048: 488.3, the last one filled
    assert found.total_steps == 978 and found.length.epochs == 2
    assert found.hours == pytest.approx(978 * 2048 / 8000 / 3600)
    assert found.host.tiles_per_s == 4000 and found.host.kept == "nowhere"
    assert found.host.cores == pytest.approx(4000 / 1329)
    assert found.host.read_mb_per_s == pytest.approx(4000 * a_region / 1e6)
    text = report.page(found)
    assert "978 steps: 2 epochs of 489" in text
    assert "and 92 more, their regions shown 2.0 to 2.0 times each" in text
    assert "each of 2 hosts\n  4,000 tiles/s: 3.0 cores" in text
    config.data.cache_mib = 200_000
    found = planner.plan_by_rate(config, shown, regions_per_s=8000.0, num_hosts=2)
    assert found.host.kept == "memory"


def test_the_records_of_a_corpus_are_told_by_its_manifests(smoke, tmp_path):
    config = smoke.copy_and_resolve_references()
    lists = {"alba": small_records.CATEGORIES, "bree": ("bakery", *"abcd")}
    for name, categories in lists.items():
        folder = tmp_path / name
        folder.mkdir()
        small_records.write_records(folder, city=name, categories=categories, rows=4)
    config.corpus.records = (f"{tmp_path}/bree", f"{tmp_path}/alba")
    config.corpus.weights = (3.0, 1.0)
    config.corpus.categories = "by_name"
    config.data.batch_size, config.corpus.evenness = 8, 1.0
    shown = planned_records.records_of(config, **ASSUMED)
    assert (shown.names, shown.sizes) == (("alba", "bree"), (32, 32))
    assert shown.weights == (1.0, 3.0) and not shown.assumed
    assert shown.num_categories == 10 and shown.category_dim == 16
    shards = [path.stat().st_size for path in tmp_path.glob("*/*array_record*")]
    assert shown.stored_bytes == sum(shards)
    found = planner.plan_by_rate(config, shown, regions_per_s=100.0, num_hosts=1)
    assert found.length.steps_per_epoch == 8
    assert "bree: 32 regions, 75.0% of all regions shown" in found.length.shown
