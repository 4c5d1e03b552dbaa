"""Counts what a compiled step sends between slices, over the data centre's network.

Chips of one slice have their own links. Slices are joined by the network of their
hosts, which is tens of times slower. For TPUs, the compiler splits an exchange, and
the text has a `send` with its kind for each part that leaves a slice. For other
devices, the text only names the devices of an exchange. Then a hierarchical exchange
is assumed, in which each device sends its share. A sum is formed within slices, added
over slices and distributed within them. Of a gathered array, a slice gets what the
others hold. Of a permutation, the pairs of devices in different slices count.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from jax.sharding import Mesh

from mmgr_jax.devices import sharding
from mmgr_jax.planning import hlo

_GROUPS = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
_MEMBERS = re.compile(r"\{([\d,]*)\}")
_SENT = re.compile(
    r" = \((\w+)\[([\d,]*)\].* send\(.*_xla_megascale_target=(\S+),"
    r'_xla_megascale_transfer_type="(\w+)"'
)
_SOURCES = re.compile(r"\{(\d+)->\d+\}")


@dataclasses.dataclass(frozen=True)
class Crossing:
    """The exchanges between slices in one step.

    Attributes:
        num_slices: Number of slices.
        count: Number of exchanges between slices; each round of a loop counts.
        mean_bytes: Bytes that a chip sends to other slices, on average.
        most_bytes: Bytes that the chip that sends most sends to other slices.
        dcn_gbit_per_s: Assumed bandwidth of a chip's share of its host's network, 1e9
            bits per second.
        seconds: Time of the chip that sends most, if nothing overlaps.
    """

    num_slices: int
    count: int
    mean_bytes: float
    most_bytes: float
    dcn_gbit_per_s: float
    seconds: float


def crossing(text: str, mesh: Mesh, dcn_gbit_per_s: float) -> Crossing | None:
    """Counts what a step sends between slices; None if there is one slice.

    Args:
        text: HLO after optimisation.
        mesh: The devices on which it runs.
        dcn_gbit_per_s: Bandwidth of a chip's share of its host's network, 1e9 bits per
            second.
    """
    slice_of = [sharding.slice_of(device) for device in mesh.devices.flat]
    if len(set(slice_of)) == 1:
        return None
    count, sent = exchanged(text, slice_of, [device.id for device in mesh.devices.flat])
    return Crossing(
        num_slices=len(set(slice_of)),
        count=count,
        mean_bytes=float(sent.mean()),
        most_bytes=float(sent.max()),
        dcn_gbit_per_s=dcn_gbit_per_s,
        seconds=8 * float(sent.max()) / (dcn_gbit_per_s * 1e9),
    )


def exchanged(
    text: str, slice_of: Sequence[int], ids: Sequence[int] = ()
) -> tuple[int, np.ndarray]:
    """Counts exchanges between slices, and the bytes that each device sends in them.

    Args:
        text: HLO after optimisation.
        slice_of: The slice of each device, by the device's number in the program.
        ids: JAX's number of each device, which a TPU's `send` names.
    """
    crossings = [*_sends(text, slice_of, ids)] or [*_exchanges(text, slice_of)]
    count = sum(times for times, sent in crossings if sent.any())
    return count, sum(times * sent for times, sent in crossings) + np.zeros(
        len(slice_of)
    )


def _sends(
    text: str, slice_of: Sequence[int], ids: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields how often each `send` runs, and the bytes that each device then sends."""
    bodies, entry = hlo.computations(text)
    times, others = hlo.rounds(bodies, entry), len(set(slice_of)) - 1
    share = {"ALL_REDUCE": 2 * others / (others + 1), "ALL_GATHER": others}
    for name, lines in bodies.items():
        for dtype, shape, target, kind in (
            match.groups() for match in map(_SENT.search, lines) if match
        ):
            sent = np.full(len(slice_of), float(hlo.array_bytes(dtype, shape)))
            if kind == "ONE_TO_ONE":
                sources = {int(source) for source in _SOURCES.findall(target)}
                sent[[device not in sources for device in ids]] = 0.0
            else:
                sent *= share.get(kind, others / (others + 1))
            yield times[name], sent


def _exchanges(text: str, slice_of: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the same for exchanges that the compiler did not split."""
    for exchange in hlo.exchanges(text):
        sent = np.zeros(len(slice_of))
        if exchange.kind == "collective-permute":
            for source, target in _pairs(exchange.line):
                if slice_of[source] != slice_of[target]:
                    sent[source] += exchange.total_bytes
        else:
            for group in _groups(exchange.line, len(slice_of)):
                sent[group] += _share(exchange, [slice_of[place] for place in group])
        yield exchange.times, sent


def _share(exchange: hlo.Exchange, slices: Sequence[int]) -> float:
    """Returns the bytes that each member of a group sends to other slices."""
    num_slices, size = len(set(slices)), exchange.total_bytes
    if num_slices == 1:
        return 0.0
    per_slice = len(slices) / num_slices
    if exchange.kind == "all-reduce":
        return 2 * (num_slices - 1) / num_slices * size / per_slice
    if exchange.kind == "reduce-scatter":
        return float((num_slices - 1) * size)
    if exchange.kind == "all-gather":  # what one holds goes to every other slice
        return (num_slices - 1) * size / len(slices)
    return (num_slices - 1) / num_slices * size  # to all, or from one


def _groups(line: str, num_devices: int) -> list[list[int]]:
    """Returns the groups of devices that take part in an exchange."""
    if match := _IOTA.search(line):
        shape, sides, order = (
            [int(side) for side in text.split(",")] if text else None
            for text in match.groups()
        )
        assert shape and sides
        numbers = np.arange(math.prod(sides)).reshape(sides)
        return numbers.transpose(order).reshape(shape).tolist()
    match = _GROUPS.search(line)
    groups = (
        [_numbers(members) for members in _MEMBERS.findall(match[1])] if match else []
    )
    return [group for group in groups if group] or [list(range(num_devices))]


def _pairs(line: str) -> list[list[int]]:
    match = _PAIRS.search(line)
    return [_numbers(pair) for pair in _MEMBERS.findall(match[1])] if match else []


def _numbers(members: str) -> list[int]:
    return [int(number) for number in members.split(",") if number]
