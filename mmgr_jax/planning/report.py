"""Writes a plan as a page of text."""

from __future__ import annotations

import math

from mmgr_jax.planning import hosts
from mmgr_jax.planning.chips import GIB
from mmgr_jax.planning.estimate import LATENCY_S
from mmgr_jax.planning.planner import Length, Plan, RatePlan
from mmgr_jax.planning.program import Program
from mmgr_jax.planning.records import Records
from mmgr_jax.planning.slices import Crossing

MB = 1e6


def page(plan: Plan | RatePlan) -> str:
    """Writes the whole plan, with a paragraph for each topic."""
    if isinstance(plan, RatePlan):
        parts = [_by_rate(plan), _records(plan.records), _host(plan.host, plan.records)]
        return "\n".join(line for part in parts for line in part)
    parts = [_run(plan), _records(plan.records), _memory(plan)]
    if plan.planned is not None and plan.work is not None:
        parts += [
            _work(plan),
            _exchanges(plan),
            _between_slices(plan.crossing),
            _time(plan),
        ]
    if plan.host is not None:
        parts.append(_host(plan.host, plan.records))
    return "\n".join(line for part in parts for line in part)


def _run(plan: Plan) -> list[str]:
    return [
        f"{plan.topology}: {plan.num_devices} x {plan.device_kind}, batches of "
        f"{plan.batch_size} regions ({plan.batch_size // plan.num_devices} a chip), "
        f"{_steps(plan)}",
        *_shown(plan.length),
    ]


def _by_rate(plan: RatePlan) -> list[str]:
    return [
        f"at {plan.regions_per_s:,.0f} regions/s, as given: batches of "
        f"{plan.batch_size} regions, {_steps(plan)}, {_long(plan.hours)}",
        *_shown(plan.length),
    ]


def _steps(plan: Plan | RatePlan) -> str:
    length = plan.length
    return (
        f"{plan.total_steps} steps: {length.epochs:.6g} epochs of "
        f"{length.steps_per_epoch}"
    )


def _shown(length: Length) -> list[str]:
    return [f"  {line}" for line in length.shown.splitlines()]


def _records(records: Records) -> list[str]:
    basis = "records"
    if records.assumed:
        basis = "assumed, since there are no records"
    many = f" --num_cities={len(records.names)}" if records.weights else ""
    return [
        f"  {basis}: --num_regions={records.num_regions}{many} "
        f"--max_pois={records.max_pois} --num_categories={records.num_categories}; "
        f"tiles of {records.tile_size_px} px, category vectors of "
        f"{records.category_dim}",
        f"  storage: {_size(records.stored_bytes)} as {records.image_format}, "
        f"{records.stored_bytes / records.num_regions / 1024:.0f} KiB a region",
    ]


def _host(host: hosts.HostInput, records: Records) -> list[str]:
    where = "the host" if host.num_hosts == 1 else f"each of {host.num_hosts} hosts"
    whole = _size(records.decoded_bytes)
    kept = {
        "devices": f"all tiles lie on every device ({whole}): read once",
        "memory": f"all tiles stay in memory ({whole}): read in the first epoch alone",
        "nowhere": f"tiles are read anew each epoch; all of them would take {whole} of "
        "memory (config.data.cache_mib)",
    }[host.kept]
    return [
        f"input of {where}",
        f"  {host.tiles_per_s:,.0f} tiles/s: {host.cores:.1f} cores and "
        f"{host.read_mb_per_s:.0f} MB/s from its disk",
        f"  {kept}",
        f"  batches ahead: {_size(host.batches_bytes)}",
    ]


def _memory(plan: Plan) -> list[str]:
    asked = plan.asked
    room = f" of {plan.chip.memory_gib:g} GiB" if plan.chip else ""
    answer = {True: "fits", False: "does not fit", None: "memory of it not known"}
    lines = [
        "memory a chip",
        f"  {_at_a_time(plan, plan.asked_microbatch_size)}: "
        f"{'' if asked.fits else 'at least '}{_size(asked.peak_bytes)}{room}, "
        f"{answer[plan.fits]}{_parts(asked)} (compiled in {asked.compile_s:.0f} s)",
    ]
    if plan.largest_microbatch_size is None:
        lines.append(
            "  no micro-batch fits: take more chips, a smaller model or tile, or "
            "--config.model.dtype=bfloat16"
        )
    elif plan.largest_microbatch_size != plan.asked_microbatch_size:
        lines.append(
            "  largest that fits: --config.train.microbatch_size="
            f"{plan.largest_microbatch_size}"
        )
    if plan.planned is not None and plan.planned is not asked:
        assert plan.microbatch_size is not None
        lines.append(
            f"  {_at_a_time(plan, plan.microbatch_size)}: "
            f"{_size(plan.planned.peak_bytes)}{room}{_parts(plan.planned)}; what "
            "follows is for this"
        )
    return lines


def _work(plan: Plan) -> list[str]:
    work = plan.work
    assert work is not None
    return [
        "work a view",
        f"  {work.flops / work.views / 1e9:.1f} GFLOP, "
        f"{work.hbm_bytes / work.views / MB:.0f} MB to and from HBM "
        f"({work.accessed_bytes / work.views / MB:.0f} MB with on-chip memory)",
        f"  float32 maps of the encoder in HBM: {_shapes(plan.float32_maps)}",
    ]


def _shapes(maps: list[tuple[int, ...]]) -> str:
    if not maps:
        return "none"
    largest = max(maps, key=math.prod)
    return f"of {len(maps)} shapes, the largest {list(largest)}"


def _exchanges(plan: Plan) -> list[str]:
    if not plan.exchanges:
        return ["exchanges a step", "  none"]
    return ["exchanges a step"] + [
        f"  {exchange.count:5d} x {exchange.kind}, "
        f"{exchange.total_bytes / MB:.2f} MB in all"
        for exchange in plan.exchanges
    ]


def _between_slices(cross: Crossing | None) -> list[str]:
    if cross is None:
        return []
    most = f", {cross.most_bytes / MB:.2f} by the chip that sends most"
    return [
        f"between {cross.num_slices} slices, over their hosts' network",
        f"  {cross.count} of the exchanges: {cross.mean_bytes / MB:.2f} MB a chip"
        + (most if cross.most_bytes > 1.01 * cross.mean_bytes else "")
        + f"; {cross.seconds * 1e3:.2f} ms at {cross.dcn_gbit_per_s:g} Gbit/s a chip, "
        "which the time below leaves out",
    ]


def _time(plan: Plan) -> list[str]:
    guess = plan.estimate
    if guess is None:
        return ["time", f"  not estimated: no figures of {plan.device_kind!r}"]
    return [
        "shortest possible time of a step (expect 1.3 to 2 times as long)",
        f"  {guess.step_s * 1e3:.1f} ms: products {guess.compute_s * 1e3:.1f} or "
        f"HBM {guess.memory_s * 1e3:.1f}, losses {guess.loss_s * 1e3:.2f}, "
        f"exchanges {guess.exchange_s * 1e3:.2f}",
        f"  number of exchanges: at {LATENCY_S * 1e6:.0f} us each they would add "
        f"{guess.latency_s * 1e3:.2f} ms",
        f"  weak scaling from one chip to {plan.num_devices}, nothing overlapping: "
        f"{guess.weak_scaling:.3f}",
        f"  {guess.tiles_per_s:,.0f} tiles/s, {_long(guess.hours)} for "
        f"{plan.total_steps} steps",
    ]


def _at_a_time(plan: Plan, size: int) -> str:
    if size == plan.batch_size:
        return "the whole batch at once"
    return f"{size} regions at a time ({size // plan.num_devices} a chip)"


def _parts(program: Program) -> str:
    if not program.fits:
        return ""
    return (
        f": arguments {_size(program.argument_bytes)}, temporaries "
        f"{_size(program.temporary_bytes)}"
    )


def _size(size_bytes: int) -> str:
    if size_bytes < GIB / 10:
        return f"{size_bytes / 2**20:.1f} MiB"
    return f"{size_bytes / GIB:.2f} GiB"


def _long(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
