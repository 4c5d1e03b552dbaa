"""Finds, before training, what would fail or disappoint after hours of it."""

from __future__ import annotations

import dataclasses
import logging
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings
from mmgr_jax.data import pipeline, schema
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.devices import memory, sharding
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning import program
from mmgr_jax.planning.records import Records
from mmgr_jax.terminal import duration

_STEPS = 3  # measured, after one that warms up
_FEW_STEPS = 4  # an epoch with fewer shows a region nearly the same others each time
_REGIONS_A_POI = 25  # two POIs for fifty regions teach nothing
_OUTSIDE = 0.9  # share of the POIs outside every region that looks like a mistake
_FEW_LABELS = 30
_GIB = 2**30

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found by comparing records and settings.

    Attributes:
        faults: What would fail, and how to mend it.
        warnings: What would disappoint, and how to mend it.
        after: The steps of `after_training` that have work to do.
    """

    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    after: tuple[str, ...]


def check(config: ConfigDict) -> tuple[str, ...]:
    """Checks finished records; returns the steps to run after training.

    Raises:
        InputError: If training or what comes after it would fail.
    """
    outcome = findings(config, schema.Manifest.load(config.records.dir))
    for sentence in outcome.warnings:
        log.warning(sentence)
    _refuse(outcome)
    return outcome.after


def rehearse(config: ConfigDict, manifest: schema.Manifest) -> None:
    """Prints what `check` finds, and the memory and time of a few real training steps.

    Args:
        config: A config, such as those in configs/.
        manifest: Manifest of the records, or of the records that a build would make.

    Raises:
        InputError: If training or what comes after it would fail.
    """
    outcome = findings(config, manifest)
    print("\nbefore training")
    for sentence in outcome.warnings:
        print(f"  warning: {sentence}")
    if not outcome.faults:
        print(f"  {measured(config, manifest)}")
        print(f"  afterwards: {', '.join(outcome.after) or 'nothing'}")
    _refuse(outcome)
    print("dry run: nothing was written")


def findings(config: ConfigDict, manifest: schema.Manifest) -> Findings:
    """Compares settings and manifest; reads no records."""
    data = settings.read(DataSettings, config.data, "data")
    loss = settings.read(LossSettings, config.loss, "loss")
    evaluation = settings.read(EvalSettings, config.eval, "eval")
    after = run_settings.read(config).after_training
    faults, warnings = _batches(manifest, data)
    poi_faults, poi_warnings = _pois(manifest, loss)
    faults, warnings = faults + poi_faults, warnings + poi_warnings
    if not manifest.labels:
        after = tuple(name for name in after if name != "eval")
        warnings.append(
            "there are no labels, so nothing is predicted or tested: training ends in "
            "embeddings and a map of their clusters. A label: config.labels, see "
            "configs/my_city.py."
        )
    elif after:
        faults += _blocks(manifest, evaluation)
        warnings += _labels(manifest)
    return Findings(tuple(faults), tuple(warnings), after)


def _refuse(outcome: Findings) -> None:
    if outcome.faults:
        raise InputError("\n  ".join(("before training:", *outcome.faults)))


def _batches(
    manifest: schema.Manifest, data: DataSettings
) -> tuple[list[str], list[str]]:
    try:
        steps = pipeline.steps_per_epoch(manifest.num_regions, data)
    except InputError as error:
        return [str(error)], []
    if steps >= _FEW_STEPS:
        return [], []
    smaller = max(manifest.num_regions // 8, 2)
    return [], [
        f"config.data.batch_size={data.batch_size} of {manifest.num_regions} regions "
        f"makes {steps} step(s) an epoch, so that a region meets the same others again "
        f"and again. Take {smaller} or so."
    ]


def _pois(manifest: schema.Manifest, loss: LossSettings) -> tuple[list[str], list[str]]:
    if not manifest.max_pois:
        if loss.image_weight == 1.0:
            return [], []
        return [
            "the regions hold no POI, and "
            f"config.loss.image_weight={loss.image_weight:g} gives the rest of the "
            "loss to POIs. Train on images alone, with "
            "--config.loss.image_weight=1.0 (common.image_only(c) in a config leaves "
            "them out of evaluation and maps, too); or name a file of POIs in "
            "config.pois.path."
        ], []
    inside = manifest.report.get("POIs inside")
    if inside is None:  # records of another maker
        return [], []
    warnings = []
    if inside * _REGIONS_A_POI < manifest.num_regions:
        warnings.append(
            f"{inside} POIs for {manifest.num_regions} regions are too few to learn "
            "from. Take a fuller source (an OpenStreetMap extract, Overture Places), "
            "larger regions or config.regions.poi_buffer_m, or train on images alone "
            "with --config.loss.image_weight=1.0."
        )
    outside = manifest.report.get("POIs dropped", {}).get("outside every region", 0)
    if outside > _OUTSIDE * (outside + inside):
        warnings.append(
            f"{outside:,} of {outside + inside:,} POIs lie outside every region. Where "
            "the file is not of a larger area, config.pois.crs, datum or the "
            "coordinate columns are wrong: look at `python -m data_prep.validate`."
        )
    return [], warnings


def _blocks(manifest: schema.Manifest, evaluation: EvalSettings) -> list[str]:
    """Splits that an evaluation would request but cannot get."""
    report = manifest.report.get("splits", {})
    if evaluation.num_folds is not None:  # dealt anew, not as stored
        return []
    return [
        f"{report[f'no {kind} split']} It would fail after training."
        for kind in evaluation.splits
        if kind not in manifest.splits and f"no {kind} split" in report
    ]


def _labels(manifest: schema.Manifest) -> list[str]:
    warnings = []
    for name, report in manifest.report.get("labels", {}).items():
        unknown = report.get("regions without a value")
        known = manifest.num_regions - (unknown or 0)
        if unknown is not None and known < min(_FEW_LABELS, manifest.num_regions):
            warnings.append(
                f"label {name} is known for {known} of {manifest.num_regions} regions, "
                "too few to learn from and to test. Does its file cover the imagery "
                f"(config.labels.{name}.path), is config.labels.{name}.min_known right?"
            )
    return warnings


def measured(config: ConfigDict, manifest: schema.Manifest) -> str:
    """Measures memory and hours of training with a few real steps on random pixels.

    Raises:
        InputError: If a setting does not fit, or the step needs more memory than there
            is.
    """
    mesh = sharding.make_mesh(settings.read(MeshSettings, config.mesh, "mesh"))
    records = _shapes(config, manifest)
    step = program.build_step(config, mesh, records)
    memory.refuse_too_large(step.abstract, step.abstract.params)
    edges = step.model.poi_encoder.reads_edges
    shapes = program.batch_shapes(config, records, edges=edges)
    batch = sharding.put_batch(_random(shapes), mesh=mesh)
    whole = sharding.replicated(mesh)
    key = jax.jit(lambda: jax.random.key(0), out_shardings=whole)()
    compiled = step.run.lower(step.abstract, batch, key).compile()
    memory.refuse_program(compiled)
    state = step.init()
    began = 0.0
    for number in range(_STEPS + 1):
        state, values = compiled(state, batch, key)
        jax.block_until_ready(values["loss"])
        if not number:
            began = time.perf_counter()
    step_s = (time.perf_counter() - began) / _STEPS
    return (
        f"training: {step.total_steps:,} steps of {config.data.batch_size} regions, "
        f"{step_s:.3g} s a step, {duration(step_s * step.total_steps)} in all, "
        f"measured on {_STEPS} steps of random pixels; reading the data and "
        f"evaluating features while training take more time. {_memory(compiled)}"
    )


def _shapes(config: ConfigDict, manifest: schema.Manifest) -> Records:
    """The facts of records that decide the shapes of a step; records need not exist."""
    return Records(
        num_regions=manifest.num_regions,
        max_pois=max(manifest.max_pois, 1),
        num_categories=len(manifest.categories),
        category_dim=config.category_vectors.dim,
        tile_size_px=manifest.tile_size_px,
        image_format=manifest.image_format,
        stored_bytes=0,
        names=(manifest.city,),
        sizes=(manifest.num_regions,),
        weights=(),
        assumed=False,
    )


def _random(shapes: dict[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """A batch of noise; a training step takes as long with it as with a city."""
    rng = np.random.default_rng(0)
    batch = {name: np.zeros(own.shape, own.dtype) for name, own in shapes.items()}
    for name in ("poi_mask", "example_mask"):
        batch[name][:] = True
    if "image" in batch:
        batch["image"] = rng.integers(0, 256, batch["image"].shape, np.uint8)
    return batch


def _memory(compiled: jax.stages.Compiled) -> str:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return "Memory: this machine does not say"
    needed = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes
    needed += analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    if jax.default_backend() == "cpu":
        needed, free = needed * jax.local_device_count(), memory.available_bytes()
        left = f" of {free / _GIB:.1f} GiB left" if free else ""
        return f"Memory of a step: {needed / _GIB:.2f} GiB{left}, as compiled"
    return f"Memory of a step: {needed / _GIB:.2f} GiB a device, as compiled"
