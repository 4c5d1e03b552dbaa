"""Reads from a compiled program's text what it moves to and from HBM.

The compiler's own count, `bytes accessed`, also includes on-chip memory. A TPU keeps
small activations there: with 16 regions of 224 px on a chip, half of that count never
reaches HBM. In the text, the layout shows where an array is: with `S(1)` and above it
is not in HBM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmgr_jax.planning import hlo

_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*?)\)(?:, |$)"
)
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_INSIDE = re.compile(r"\b(?:calls|to_apply|condition)=%?([\w.\-]+)")
_COPIES = ("copy-start", "slice-start")
_FREE = (
    "after-all",
    "bitcast",
    "call",
    "conditional",
    "constant",
    "get-tuple-element",
    "parameter",
    "tuple",
    "while",
)


def hbm_bytes(text: str) -> int:
    """Counts bytes read from and written to HBM in one run, with all rounds of loops.

    Each operand and result of an instruction counts as a whole. So the count is too
    high for instructions that use only a part of an array in place.

    Args:
        text: HLO after optimisation.
    """
    return sum(times * sum(_instruction_bytes(lines)) for times, lines in _run(text))


def float32_maps(text: str, rows: int) -> list[tuple[int, ...]]:
    """Returns the shapes of the float32 maps of an encoder that are written to HBM.

    A model in bfloat16 should have none, because each would double its traffic. Maps
    are arrays of three axes or more. Their first axis has the rows of a device, or the
    views of these rows, and their last axis has 16 channels or more. So kernels, views
    and the planes (region, view, ...) from which views are made do not count.

    Args:
        text: HLO after optimisation.
        rows: Number of regions that a device encodes at a time.
    """
    shapes = set()
    for _, lines in _run(text):
        for match in filter(None, map(_INSTRUCTION.match, lines)):
            for dtype, sides, layout in _ARRAY.findall(match[2]):
                shape = tuple(int(side) for side in sides.split(",") if side)
                views = shape[:2] == (rows, 2)  # in the making, a plane a colour
                many = shape[:1] in ((rows,), (2 * rows,)) or shape[:2] == (2, rows)
                if (
                    dtype == "f32"
                    and "S(" not in layout
                    and match[3] not in _FREE
                    and many
                    and not views
                    and len(shape) >= 3
                    and shape[-1] >= 16
                ):
                    shapes.add(shape)
    return sorted(shapes)


def _run(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields how often each computation runs, and its lines.

    Computations in a fusion are left out, because their arrays never leave the chip.
    """
    bodies, entry = hlo.computations(text)
    times = hlo.rounds(bodies, entry)
    inside = set(_INSIDE.findall(text))
    for name, lines in bodies.items():
        if times[name] and name not in inside:
            yield times[name], lines


def _instruction_bytes(lines: list[str]) -> Iterator[int]:
    """Yields the bytes that each instruction of a computation moves to or from HBM."""
    instructions = [match.groups() for match in map(_INSTRUCTION.match, lines) if match]
    types = {name: result for name, result, _, _ in instructions}
    for _, result, operation, operands in instructions:
        if operation in _COPIES:
            yield _copy_bytes(result, operation)
        elif operation not in _FREE and not operation.endswith("-done"):
            given = [types.get(name, "") for name in _NAME.findall(operands)]
            yield sum(size for each in (result, *given) for size in _in_hbm(each))


def _copy_bytes(result: str, operation: str) -> int:
    """Returns the bytes of a copy, once for each end that is in HBM.

    The type is (destination, source, context) or ((source), destination, context).
    """
    ends = _ARRAY.findall(result)[:2]
    destination = ends[0 if operation == "copy-start" else 1]
    outside = sum("S(" not in layout for _, _, layout in ends)
    return outside * hlo.array_bytes(*destination[:2])


def _in_hbm(result: str) -> list[int]:
    return [
        hlo.array_bytes(dtype, shape)
        for dtype, shape, layout in _ARRAY.findall(result)
        if "S(" not in layout
    ]
