"""Reads from a compiled program's text what it sends between devices."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
    "collective-broadcast",
)

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "token": 0}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.+?) ([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|calls|to_apply|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r" while\(.*\bcondition=%?([\w.\-]+)")
_CONSTANT = re.compile(r" = s32\[\]\S* constant\((\d+)\)")
# The compiler for TPUs splits an exchange into pieces, to overlap them with work.
_PIECE_OF = re.compile(r'\b(channel_id=\d+),.*\b(chain_id="\d+")')


@dataclasses.dataclass(frozen=True)
class Collective:
    """The exchanges of one kind in one run of a program.

    Attributes:
        kind: One of `KINDS`.
        count: Number of exchanges; each round of a loop counts.
        total_bytes: Sum of the sizes of their results on a device.
    """

    kind: str
    count: int
    total_bytes: int


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One exchange in a program's text.

    Attributes:
        kind: One of `KINDS`.
        times: Number of times that it runs.
        total_bytes: Size of its result on a device, each time.
        line: Line of the instruction.
    """

    kind: str
    times: int
    total_bytes: int
    line: str


def collectives(text: str) -> list[Collective]:
    """Sums the exchanges of a program by kind.

    Args:
        text: As for `exchanges`.
    """
    counts, sizes = defaultdict(int), defaultdict(int)
    for exchange in exchanges(text):
        counts[exchange.kind] += exchange.times
        sizes[exchange.kind] += exchange.times * exchange.total_bytes
    return [
        Collective(kind, counts[kind], sizes[kind]) for kind in KINDS if counts[kind]
    ]


def exchanges(text: str) -> Iterator[Exchange]:
    """Yields the exchanges of a program, in the order of its text.

    Args:
        text: HLO after optimisation, as from `jax.stages.Compiled.as_text`. A loop
            counts as one round if the text does not give its length.
    """
    bodies, entry = computations(text)
    times, seen = rounds(bodies, entry), set()
    for name, lines in bodies.items():
        for result, operation, whole, line in _instructions(lines):
            kind = operation.removesuffix("-start")
            if kind in KINDS and whole not in seen:
                seen.add(whole)
                size = _payload_bytes(result, operation)
                yield Exchange(kind, times[name], size, line)


def computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Returns name -> lines of each computation, and the name of the first to run."""
    bodies, entry, lines = {}, "", []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header and not line.startswith("HloModule"):
            lines = bodies.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    return bodies, entry


def rounds(bodies: dict[str, list[str]], entry: str) -> dict[str, int]:
    """Counts how often each computation runs."""
    counts = defaultdict(int)

    def run(name: str, times: int) -> None:
        counts[name] += times
        for line in bodies.get(name, ()):
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += re.findall(r"[\w.\-]+", branches)
            for inner in called:
                run(inner, times * _trips(line, bodies))

    run(entry, 1)
    return counts


def array_bytes(dtype: str, shape: str) -> int:
    """Returns the bytes of an array, from the text of its type and of its sides."""
    bits = _BITS[dtype] if dtype in _BITS else int(re.findall(r"\d+", dtype)[0])
    size = 1
    for side in filter(None, shape.split(",")):
        size *= int(side)
    return -(-size * bits // 8)


def _trips(line: str, bodies: dict[str, list[str]]) -> int:
    """Returns the rounds of a loop, or 1 for anything else.

    If the compiler does not write their number, it is the only constant in the loop's
    condition, to which the counter is compared.
    """
    known = _TRIPS.search(line)
    if known:
        return int(known[1])
    loop = _CONDITION.search(line)
    bounds = _CONSTANT.findall("\n".join(bodies.get(loop[1], ()))) if loop else []
    return int(bounds[0]) if len(bounds) == 1 else 1


def _instructions(lines: Sequence[str]) -> Iterator[tuple[str, str, object, str]]:
    """Yields (type of the result, operation, exchange that it is a piece of, line)."""
    for line in lines:
        match = _INSTRUCTION.match(line)
        if match:
            piece_of = _PIECE_OF.search(line)
            whole = piece_of.groups() if piece_of else object()
            yield match[1], match[2], whole, line


def _payload_bytes(result: str, operation: str) -> int:
    """Returns the bytes of an exchange's result, without operands that it may list."""
    arrays = [array_bytes(*array) for array in _ARRAY.findall(result)]
    if operation in ("all-gather-start", "collective-permute-start"):
        arrays = [size for size in arrays if size > 4]  # not its context, u32[]
        arrays = arrays[len(arrays) // 2 :]
    return sum(arrays)
