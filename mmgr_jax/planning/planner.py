"""A config on a topology: does it fit, how long does it take, at what exchange."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgr_jax import settings
from mmgr_jax.data import corpus
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning import (
    chips,
    estimate,
    fit,
    hlo,
    hosts,
    program,
    slices,
    traffic,
)
from mmgr_jax.planning.records import Records
from mmgr_jax.train import run_step
from mmgr_jax.train.settings import TrainingSettings

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a run before it is paid for; sizes are of one device.

    Attributes:
        topology: As asked.
        num_devices: Devices.
        device_kind: JAX's name of them.
        chip: Their figures; None where they are not in the table.
        records: Shapes and length of the run.
        batch_size: Regions a step, over all devices.
        asked: The step as configured.
        asked_microbatch_size: Regions encoded at a time, as configured.
        fits: Whether that fits; None where the memory is not known.
        largest_microbatch_size: The largest that fits; None if none was found.
        microbatch_size: What the rest of the plan is for; None where nothing fits.
        planned: That step; None where nothing fits.
        exchanges: Of one such step.
        crossing: What of them goes between slices; None where there is one slice.
        work: Of one device in one step.
        estimate: Seconds and hours; None where the chip is not in the table.
        total_steps: Steps of the run.
        length: Its epochs, and who is shown how often.
        host: What reading costs each host; None where the rate is not known.
    """

    topology: str
    num_devices: int
    device_kind: str
    chip: chips.Chip | None
    records: Records
    batch_size: int
    asked: program.Program
    asked_microbatch_size: int
    fits: bool | None
    largest_microbatch_size: int | None
    microbatch_size: int | None
    planned: program.Program | None
    exchanges: list[hlo.Collective]
    crossing: slices.Crossing | None
    float32_maps: list[tuple[int, ...]]
    work: estimate.Work | None
    estimate: estimate.Estimate | None
    total_steps: int
    length: Length
    host: hosts.HostInput | None

    def to_json(self) -> dict[str, Any]:
        """Everything but the programs' text."""
        fields = dataclasses.asdict(self)
        for name in ("asked", "planned"):
            if fields[name] is not None:
                del fields[name]["text"]
        return fields


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
        steps_per_epoch: Batches of an epoch.
        epochs: Of the run.
        shown: What it shows of each city; "" where there is one.
    """

    steps_per_epoch: int
    epochs: float
    shown: str

    @classmethod
    def of(
        cls, records: Records, training: TrainingSettings, total_steps: int
    ) -> Length:
        """The length that settings give."""
        an_epoch = records.steps_per_epoch(training.corpus, training.data)
        turns = records.turns(training.corpus, training.data)
        shown = corpus.described(turns, total_steps) if turns else ""
        return cls(an_epoch, total_steps / an_epoch, shown)


@dataclasses.dataclass(frozen=True)
class RatePlan:
    """What a measured rate tells of a run; nothing is compiled.

    Attributes:
        records: What it is shown.
        batch_size: Regions a step, over all devices.
        regions_per_s: Over all devices, as measured.
        total_steps: Steps of the run.
        length: Its epochs, and who is shown how often.
        hours: Of the whole run.
        host: What reading costs each host.
    """

    records: Records
    batch_size: int
    regions_per_s: float
    total_steps: int
    length: Length
    hours: float
    host: hosts.HostInput

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return dataclasses.asdict(self)


def plan_by_rate(
    config: ConfigDict, records: Records, *, regions_per_s: float, num_hosts: int
) -> RatePlan:
    """What a run costs at a rate that was measured.

    Args:
        config: As from configs/.
        records: Shapes and length of the run.
        regions_per_s: Over all devices.
        num_hosts: Hosts that share a batch.

    Raises:
        InputError: If a setting does not fit.
    """
    training = TrainingSettings.of(config)
    data = training.data
    total_steps = run_step.total_steps(
        training, records.steps_per_epoch(training.corpus, data)
    )
    return RatePlan(
        records=records,
        batch_size=data.batch_size,
        regions_per_s=regions_per_s,
        total_steps=total_steps,
        length=Length.of(records, training, total_steps),
        hours=total_steps * data.batch_size / regions_per_s / 3600,
        host=hosts.of_host(
            records,
            data,
            regions_per_s=regions_per_s,
            num_hosts=num_hosts,
            device_bytes=None,
        ),
    )


def plan(
    config: ConfigDict,
    mesh: Mesh,
    records: Records,
    *,
    topology: str,
    dcn_gbit_per_s: float,
) -> Plan:
    """Compiles the step of a config for a mesh and reads off what it would cost.

    Every program is the real one on all devices of the mesh: a smaller mesh would have
    other exchanges and losses, and compiles in no less time.

    Args:
        config: As from configs/.
        mesh: The devices, at hand or not.
        records: Shapes and length of the run.
        topology: What the devices are called.
        dcn_gbit_per_s: As for `slices.crossing`.

    Raises:
        InputError: If a setting does not fit.
    """
    total_steps = program.build_step(config, mesh, records).total_steps
    training = TrainingSettings.of(config)
    chip = chips.chip_of(mesh.devices.flat[0].device_kind)
    batch_size = config.data.batch_size
    asked_size = config.train.microbatch_size or batch_size
    compiled: dict[int, program.Program] = {}
    asked = _compile(config, mesh, records, asked_size, compiled)
    fits = _fits(asked, chip)
    size = largest = _largest(config, mesh, records, chip, asked_size, compiled)
    if fits is not False:
        size = asked_size
    planned = compiled[size] if size else None
    text = planned.text if planned else ""
    exchanges = hlo.collectives(text)
    rows = size // mesh.devices.size if size else 0
    maps = traffic.float32_maps(text, rows)
    work = _work(config, mesh, records, size, planned) if size and planned else None
    guess = None
    if work and chip:
        guess = estimate.estimate(
            work, exchanges, chip, batch_size=batch_size, total_steps=total_steps
        )
    host = guess and _host(records, training, guess.tiles_per_s, mesh, chip)
    return Plan(
        topology=topology,
        num_devices=mesh.devices.size,
        device_kind=mesh.devices.flat[0].device_kind,
        chip=chip,
        records=records,
        batch_size=batch_size,
        asked=asked,
        asked_microbatch_size=asked_size,
        fits=fits,
        largest_microbatch_size=largest,
        microbatch_size=size,
        planned=planned,
        exchanges=exchanges,
        crossing=slices.crossing(text, mesh, dcn_gbit_per_s),
        float32_maps=maps,
        work=work,
        estimate=guess,
        total_steps=total_steps,
        length=Length.of(records, training, total_steps),
        host=host,
    )


def _host(
    records: Records,
    training: TrainingSettings,
    regions_per_s: float,
    mesh: Mesh,
    chip: chips.Chip | None,
) -> hosts.HostInput:
    return hosts.of_host(
        records,
        training.data,
        regions_per_s=regions_per_s,
        num_hosts=len({device.process_index for device in mesh.devices.flat}),
        device_bytes=chip and chip.memory_bytes,
    )


def _largest(
    config: ConfigDict,
    mesh: Mesh,
    records: Records,
    chip: chips.Chip | None,
    asked_size: int,
    compiled: dict[int, program.Program],
) -> int | None:
    """The largest micro-batch that fits, in regions over all devices."""
    batch_size, num_devices = config.data.batch_size, mesh.devices.size
    asked = compiled[asked_size]
    if chip is None or (asked_size == batch_size and _fits(asked, chip)):
        return asked_size

    def measure(rows: int) -> fit.Use:
        size = rows * num_devices
        return _use(_compile(config, mesh, records, size, compiled), chip)

    rows = asked_size // num_devices
    sizes = sorted({*fit.part_sizes(batch_size // num_devices), rows})
    largest = fit.largest_fitting(
        measure,
        sizes,
        asked.limit_bytes or chip.memory_bytes,
        {rows: _use(asked, chip)},
    )
    return largest * num_devices if largest else None


def _compile(
    config: ConfigDict,
    mesh: Mesh,
    records: Records,
    size: int,
    compiled: dict[int, program.Program],
) -> program.Program:
    """The step with micro-batches of `size` regions, each compiled once."""
    if size not in compiled:
        whole = size == config.data.batch_size
        given = _with(config, microbatch_size=None if whole else size)
        log.info(
            "compiling for %d x %s, %d of %d regions at a time (minutes) ...",
            mesh.devices.size,
            mesh.devices.flat[0].device_kind,
            size,
            config.data.batch_size,
        )
        compiled[size] = program.compile_step(given, mesh, records)
    return compiled[size]


def _work(
    config: ConfigDict,
    mesh: Mesh,
    records: Records,
    size: int,
    planned: program.Program,
) -> estimate.Work:
    """Counts come from a program without micro-batches, since a loop counts once."""
    batch_size, num_devices = config.data.batch_size, mesh.devices.size
    part = planned
    if size != batch_size:
        part_config = _with(config, microbatch_size=None, batch_size=size)
        part = _compile(part_config, mesh, records, size, {})
    return estimate.work_of(
        part_flops=part.flops,
        part_accessed_bytes=part.accessed_bytes,
        part_hbm_bytes=part.hbm_bytes,
        parts=batch_size // size,
        rows=batch_size // num_devices,
        num_devices=num_devices,
        projection_dim=config.model.projection_dim,
        loss=settings.read(LossSettings, config.loss, "loss"),
    )


def _with(
    config: ConfigDict, *, microbatch_size: int | None, batch_size: int | None = None
) -> ConfigDict:
    """A copy with other sizes."""
    copy = config.copy_and_resolve_references()
    copy.train.microbatch_size = microbatch_size
    if batch_size:
        copy.data.batch_size = batch_size
    return copy


def _fits(given: program.Program, chip: chips.Chip | None) -> bool | None:
    if not given.fits:
        return False
    return given.peak_bytes <= chip.memory_bytes if chip else None


def _use(given: program.Program, chip: chips.Chip) -> fit.Use:
    return fit.Use(given.peak_bytes, bool(_fits(given, chip)))
