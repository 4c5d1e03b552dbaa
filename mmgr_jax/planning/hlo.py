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

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
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


def collectives(text: str) -> list[Collective]:
    """The exchanges of a program, by kind.

    Args:
        text: HLO after optimisation, as of `jax.stages.Compiled.as_text`. A loop whose
            length it does not tell counts as one round.
    """
    bodies, entry = computations(text)
    times = rounds(bodies, entry)
    counts, sizes, seen = defaultdict(int), defaultdict(int), set()
    for name, lines in bodies.items():
        for result, operation, whole in _instructions(lines):
            kind = operation.removesuffix("-start")
            if kind in KINDS and whole not in seen:
                seen.add(whole)
                counts[kind] += times[name]
                sizes[kind] += times[name] * _payload_bytes(result, operation)
    return [
        Collective(kind, counts[kind], sizes[kind]) for kind in KINDS if counts[kind]
    ]


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
    bits = _BITS.get(dtype) or int(re.findall(r"\d+", dtype)[0])
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


def _instructions(lines: Sequence[str]) -> Iterator[tuple[str, str, object]]:
    """(type of the result, operation, what it is a piece of) of each instruction."""
    for line in lines:
        match = _INSTRUCTION.match(line)
        if match:
            piece_of = _PIECE_OF.search(line)
            yield match[1], match[2], piece_of.groups() if piece_of else object()


def _payload_bytes(result: str, operation: str) -> int:
    """Bytes of an exchange's result, without the operands an asynchronous one lists."""
    arrays = [array_bytes(*array) for array in _ARRAY.findall(result)]
    if operation in ("all-gather-start", "collective-permute-start"):
        arrays = [size for size in arrays if size > 4]  # not its context, u32[]
        arrays = arrays[len(arrays) // 2 :]
    return sum(arrays)
