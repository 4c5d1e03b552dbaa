"""A plan as a page to read."""

from __future__ import annotations

import math

from mmgr_jax.planning.chips import GIB
from mmgr_jax.planning.estimate import LATENCY_S
from mmgr_jax.planning.planner import Plan
from mmgr_jax.planning.program import Program
from mmgr_jax.planning.slices import Crossing

MB = 1e6


def page(plan: Plan) -> str:
    """The whole plan, a topic a paragraph."""
    parts = [_run(plan), _memory(plan)]
    if plan.planned is not None and plan.work is not None:
        parts += [
            _work(plan),
            _exchanges(plan),
            _between_slices(plan.crossing),
            _time(plan),
        ]
    return "\n".join(line for part in parts for line in part)


def _run(plan: Plan) -> list[str]:
    records = plan.records
    basis = "assumed, since there are no records" if records.assumed else "from records"
    return [
        f"{plan.topology}: {plan.num_devices} x {plan.device_kind}, batches of "
        f"{plan.batch_size} regions ({plan.batch_size // plan.num_devices} a chip), "
        f"{plan.total_steps} steps",
        f"  {basis}: --num_regions={records.num_regions} --max_pois={records.max_pois} "
        f"--num_categories={records.num_categories}; tiles of {records.tile_size_px} "
        f"px, category vectors of {records.category_dim}",
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
        "time a step, if every part did its best (expect 1.3 to 2 times as long)",
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
