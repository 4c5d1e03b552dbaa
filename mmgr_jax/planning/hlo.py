"""What a compiled program sends between devices, read from its text."""

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
# A TPU's compiler spreads an exchange over the work it overlaps with, piece by piece.
_PIECE_OF = re.compile(r'\b(channel_id=\d+),.*\b(chain_id="\d+")')


@dataclasses.dataclass(frozen=True)
class Collective:
    """Exchanges of one kind in one run of a program.

    Attributes:
        kind: One of `KINDS`.
        count: How often, loops counted round by round.
        total_bytes: Sum over them of what each leaves on a device.
    """

    kind: str
    count: int
    total_bytes: int


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One exchange in a program's text.

    Attributes:
        kind: One of `KINDS`.
        times: How often it runs.
        total_bytes: What it leaves on a device each time.
        line: The instruction.
    """

    kind: str
    times: int
    total_bytes: int
    line: str


def collectives(text: str) -> list[Collective]:
    """The exchanges of a program, by kind.

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
    """The exchanges of a program, in the order of its text.

    Args:
        text: HLO after optimisation, as of `jax.stages.Compiled.as_text`. A loop whose
            length it does not tell counts as one round.
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
    """Name -> lines of each computation, and the name of the first to run."""
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
    """How often each computation runs."""
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
    """Size of an array, from its type and its sides as they are written."""
    bits = _BITS[dtype] if dtype in _BITS else int(re.findall(r"\d+", dtype)[0])
    size = 1
    for side in filter(None, shape.split(",")):
        size *= int(side)
    return -(-size * bits // 8)


def _trips(line: str, bodies: dict[str, list[str]]) -> int:
    """Rounds of a loop, 1 for all else.

    Where the compiler does not write them, the loop's condition compares its counter
    with the only number in it.
    """
    known = _TRIPS.search(line)
    if known:
        return int(known[1])
    loop = _CONDITION.search(line)
    bounds = _CONSTANT.findall("\n".join(bodies.get(loop[1], ()))) if loop else []
    return int(bounds[0]) if len(bounds) == 1 else 1


def _instructions(lines: Sequence[str]) -> Iterator[tuple[str, str, object, str]]:
    """(type of the result, operation, what it is a piece of, line) of each."""
    for line in lines:
        match = _INSTRUCTION.match(line)
        if match:
            piece_of = _PIECE_OF.search(line)
            whole = piece_of.groups() if piece_of else object()
            yield match[1], match[2], whole, line


def _payload_bytes(result: str, operation: str) -> int:
    """Bytes of an exchange's result, without the operands an asynchronous one lists."""
    arrays = [array_bytes(*array) for array in _ARRAY.findall(result)]
    if operation in ("all-gather-start", "collective-permute-start"):
        arrays = [size for size in arrays if size > 4]  # not its context, u32[]
        arrays = arrays[len(arrays) // 2 :]
    return sum(arrays)
