"""How long a step would take if every part of a chip did its best: a roofline.

    step = max(products / peak, traffic / bandwidth) + losses + exchanges

What is real takes longer: 1.3 to 2 times is usual for a convolutional network, whose
channels do not fill the products' units and whose kernels do not all reach the
bandwidth of memory. On the other side, exchanges overlap with work in part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmgr_jax.losses.contrastive import INTER_PAIRS, INTRA_PAIRS
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning.chips import Chip
from mmgr_jax.planning.hlo import Collective

RECOMPUTED = 4 / 3
"""Work of a step with micro-batches: forward, forward again and a backward of two."""

SIMILARITY_PASSES = 8
"""Times that a tile of similarities goes to memory or comes back, forward and
backward, where the compiler joins nothing: an upper bound."""

LATENCY_S = 10e-6
"""Assumed duration of a small exchange; for the note on their number, not the step."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What one device does in a step.

    Attributes:
        views: Views that it encodes.
        flops: Operations, without the losses' similarities.
        accessed_bytes: Traffic with any memory, on-chip too, likewise.
        hbm_bytes: Traffic with HBM alone.
        loss_flops: Operations of the losses' similarities.
        loss_bytes: Traffic of theirs.
    """

    views: int
    flops: float
    accessed_bytes: float
    hbm_bytes: float
    loss_flops: float
    loss_bytes: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds of a step, by cause, and what follows.

    Attributes:
        compute_s: Products at the chip's peak.
        memory_s: Traffic with HBM at its bandwidth.
        loss_s: Similarities, whichever of the two is longer.
        exchange_s: Exchanges at the bandwidth of its links.
        step_s: The larger of the first two, and the others.
        latency_s: What the exchanges would add at `LATENCY_S` each.
        weak_scaling: Step of one device alone with as many regions, over this step with
            its latency: the share of all devices' speed that is left when they work
            together and nothing overlaps.
        tiles_per_s: Over all devices.
        hours: Of the whole run.
    """

    compute_s: float
    memory_s: float
    loss_s: float
    exchange_s: float
    step_s: float
    latency_s: float
    weak_scaling: float
    tiles_per_s: float
    hours: float


def work_of(
    *,
    part_flops: float,
    part_accessed_bytes: float,
    part_hbm_bytes: float,
    parts: int,
    rows: int,
    num_devices: int,
    projection_dim: int,
    loss: LossSettings,
) -> Work:
    """What one device does in a step.

    Args:
        part_flops: Of a step on a part of the batch, without micro-batches.
        part_accessed_bytes: Its traffic with any memory, on-chip too.
        part_hbm_bytes: Its traffic with HBM.
        parts: Micro-batches of a step.
        rows: Regions of a device.
        num_devices: Devices.
        projection_dim: Length of the projections.
        loss: The section `loss`.
    """
    again = RECOMPUTED if parts > 1 else 1.0
    streamed = loss.implementation != "dense"  # dense has no loops: counted already
    pairs = ordered_pairs(loss.symmetric) if streamed else 0
    similarities = pairs * rows * rows * num_devices
    return Work(
        views=2 * rows,
        flops=parts * again * part_flops,
        accessed_bytes=parts * again * part_accessed_bytes,
        hbm_bytes=parts * again * part_hbm_bytes,
        loss_flops=6.0 * projection_dim * similarities,  # forward, again, gradient
        loss_bytes=4.0 * SIMILARITY_PASSES * similarities,
    )


def ordered_pairs(symmetric: bool) -> int:
    """Ordered pairs of sets whose similarities the losses need."""
    pairs = INTER_PAIRS[: 2 if symmetric else 1] + INTRA_PAIRS
    return len({(i, j) for pair in pairs for i in pair for j in pair})


def estimate(
    work: Work,
    exchanges: Sequence[Collective],
    chip: Chip,
    *,
    batch_size: int,
    total_steps: int,
) -> Estimate:
    """Seconds of a step and hours of a run.

    Args:
        work: Of one device and step.
        exchanges: Of one step.
        chip: The device.
        batch_size: Regions a step, over all devices.
        total_steps: Steps of the run.
    """
    peak, bandwidth = chip.tflops * 1e12, chip.memory_gb_per_s * 1e9
    compute_s, memory_s = work.flops / peak, work.hbm_bytes / bandwidth
    loss_s = max(work.loss_flops / peak, work.loss_bytes / bandwidth)
    # A sum is sent twice: once to be formed, once to be told.
    sent = sum(
        exchange.total_bytes * (2 if exchange.kind == "all-reduce" else 1)
        for exchange in exchanges
    )
    exchange_s = sent / (chip.link_gb_per_s * 1e9)
    step_s = max(compute_s, memory_s) + loss_s + exchange_s
    latency_s = LATENCY_S * sum(exchange.count for exchange in exchanges)
    num_devices = 2 * batch_size / work.views
    alone_s = max(compute_s, memory_s) + loss_s / num_devices
    return Estimate(
        compute_s=compute_s,
        memory_s=memory_s,
        loss_s=loss_s,
        exchange_s=exchange_s,
        step_s=step_s,
        latency_s=latency_s,
        weak_scaling=alone_s / (step_s + latency_s),
        tiles_per_s=batch_size / step_s,
        hours=total_steps * step_s / 3600,
    )
