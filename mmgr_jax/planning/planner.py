"""Plans a config on a topology: whether it fits, its time and its exchanges."""

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
    """The plan of a run, made before it is paid for; sizes are of one device.

    Attributes:
        topology: Name of the topology, as given.
        num_devices: Number of devices.
        device_kind: JAX's name of the devices.
        chip: Figures of a device; None if they are not in the table.
        records: Description of the records.
        batch_size: Number of regions in a step, over all devices.
        asked: The step as configured.
        asked_microbatch_size: Number of regions encoded at a time, as configured.
        fits: Whether the step as configured fits; None if the memory is not known.
        largest_microbatch_size: The largest size that fits; None if none was found.
        microbatch_size: The size for which the rest of the plan holds; None if no size
            fits.
        planned: The step of that size; None if no size fits.
        exchanges: Exchanges of one planned step.
        crossing: The exchanges between slices; None if there is one slice.
        float32_maps: Shapes as from `traffic.float32_maps`.
        work: Work of one device in one planned step; None if no size fits.
        estimate: Seconds and hours; None if the chip is not in the table.
        total_steps: Number of steps of the run.
        length: Epochs of the run, and how often each city is used.
        host: What reading costs each host; None if the rate is not known.
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
        """Returns all fields as a dictionary, without the text of the programs."""
        fields = dataclasses.asdict(self)
        for name in ("asked", "planned"):
            if fields[name] is not None:
                del fields[name]["text"]
        return fields


@dataclasses.dataclass(frozen=True)
class Length:
    """The length of a run in epochs.

    Attributes:
        steps_per_epoch: Number of batches in an epoch.
        epochs: Number of epochs of the run.
        shown: Text that says how often each city is used; "" if there is one city.
    """

    steps_per_epoch: int
    epochs: float
    shown: str

    @classmethod
    def of(
        cls, records: Records, training: TrainingSettings, total_steps: int
    ) -> Length:
        """Computes the length from settings."""
        an_epoch = records.steps_per_epoch(training.corpus, training.data)
        turns = records.turns(training.corpus, training.data)
        shown = corpus.described(turns, total_steps) if turns else ""
        return cls(an_epoch, total_steps / an_epoch, shown)


@dataclasses.dataclass(frozen=True)
class RatePlan:
    """The plan of a run at a measured rate; nothing is compiled.

    Attributes:
        records: Description of the records.
        batch_size: Number of regions in a step, over all devices.
        regions_per_s: Measured number of regions per second, over all devices.
        total_steps: Number of steps of the run.
        length: Epochs of the run, and how often each city is used.
        hours: Hours of the whole run.
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
        """Returns all fields as a dictionary."""
        return dataclasses.asdict(self)


def plan_by_rate(
    config: ConfigDict, records: Records, *, regions_per_s: float, num_hosts: int
) -> RatePlan:
    """Computes what a run costs at a measured rate.

    Args:
        config: A config as in configs/.
        records: Description of the records.
        regions_per_s: Measured number of regions per second, over all devices.
        num_hosts: Number of hosts that share a batch.

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
    """Compiles the step of a config for a mesh, and reads from it what it would cost.

    Every compiled program is the real one for all devices of the mesh. A smaller mesh
    would have other exchanges and losses, and would not compile faster.

    Args:
        config: A config as in configs/.
        mesh: The devices, on this machine or not.
        records: Description of the records.
        topology: Name of the topology.
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
    host = guess and hosts.of_mesh(
        mesh, chip, records, training.data, regions_per_s=guess.tiles_per_s
    )
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


def _largest(
    config: ConfigDict,
    mesh: Mesh,
    records: Records,
    chip: chips.Chip | None,
    asked_size: int,
    compiled: dict[int, program.Program],
) -> int | None:
    """Finds the largest micro-batch that fits, in regions over all devices."""
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
    """Compiles the step with micro-batches of `size` regions, once for each size."""
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
    """Computes the work from a step without micro-batches, as a loop counts once."""
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
    """Copies a config with other sizes."""
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
