"""Estimates the shortest time of a step, if every part of a chip reaches its peak.

    step = max(products / peak, traffic / bandwidth) + losses + exchanges

This is a roofline model. Real steps take longer, usually 1.3 to 2 times for a
convolutional network: its channels do not fill the units for products, and not all its
kernels reach the bandwidth of memory. However, exchanges partly overlap with work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmgr_jax.losses.contrastive import INTER_PAIRS, INTRA_PAIRS
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning.chips import Chip
from mmgr_jax.planning.hlo import Collective

RECOMPUTED = 4 / 3
"""Factor on the work of a step with micro-batches, which repeat the forward pass: 4
forward passes instead of 3, as a backward pass counts as 2."""

SIMILARITY_PASSES = 8
"""Number of times that a tile of similarities is written to memory or read, forward and
backward, if the compiler fuses nothing: an upper bound."""

LATENCY_S = 10e-6
"""Assumed seconds of a small exchange; used for `latency_s`, not for `step_s`."""


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of one device in a step.

    Attributes:
        views: Number of views that it encodes.
        flops: Operations, without the similarities of the losses.
        accessed_bytes: Bytes moved to and from any memory, also on-chip memory, without
            these similarities.
        hbm_bytes: The part of these bytes that is moved to and from HBM.
        loss_flops: Operations for the similarities of the losses.
        loss_bytes: Bytes moved for these similarities.
    """

    views: int
    flops: float
    accessed_bytes: float
    hbm_bytes: float
    loss_flops: float
    loss_bytes: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The seconds of a step, by cause, and the time of the whole run.

    Attributes:
        compute_s: Seconds for products at the chip's peak.
        memory_s: Seconds for traffic with HBM at its bandwidth.
        loss_s: Seconds for the similarities: products or traffic, whichever is longer.
        exchange_s: Seconds for exchanges at the bandwidth of the chip's links.
        step_s: The larger of `compute_s` and `memory_s`, plus `loss_s` and
            `exchange_s`.
        latency_s: Seconds that the exchanges would add at `LATENCY_S` each.
        weak_scaling: Time of a step on one device alone, with as many regions per
            device, divided by the time of this step with its latency. It is the share
            of speed that each device keeps when all work together and nothing overlaps.
        tiles_per_s: Regions per second, over all devices.
        hours: Hours of the whole run.
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
    """Computes the work of one device in a step.

    Args:
        part_flops: Operations of a step on one part of the batch, without
            micro-batches.
        part_accessed_bytes: Bytes it moves to and from any memory, also on-chip.
        part_hbm_bytes: Bytes it moves to and from HBM.
        parts: Number of micro-batches in a step.
        rows: Number of regions of a device.
        num_devices: Number of devices.
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
    """Counts the ordered pairs of sets whose similarities the losses need."""
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
    """Estimates the seconds of a step and the hours of a run.

    Args:
        work: Work of one device in one step.
        exchanges: Exchanges of one step.
        chip: The device.
        batch_size: Number of regions in a step, over all devices.
        total_steps: Number of steps of the run.
    """
    peak, bandwidth = chip.tflops * 1e12, chip.memory_gb_per_s * 1e9
    compute_s, memory_s = work.flops / peak, work.hbm_bytes / bandwidth
    loss_s = max(work.loss_flops / peak, work.loss_bytes / bandwidth)
    # A sum is sent twice: once to be formed, and once to be distributed.
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
