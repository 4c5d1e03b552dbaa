"""Writes one shard of records completely, and checks whether a shard is complete."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from data_prep.files import disk
from mmgr_jax.data import contents, seals
from mmgr_jax.data.pixels import PixelSums
from mmgr_jax.disk import files

Encode = Callable[[Sequence[int]], Iterator[tuple[bytes, PixelSums]]]
"""Serialised records of some regions, in their order, each with sums over the pixels of
its tile. It travels to other processes, so it must pickle."""

# One record a chunk: random access by the loader reads nothing else. PNG bytes do
# not compress further.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"

_NOTED = {"length", "sha256", "inputs", "pixels"}


@dataclasses.dataclass(frozen=True)
class Shard:
    """Neighbouring regions, in the order of the records, and the file they go to."""

    path: Path
    first: int
    length: int

    @property
    def note(self) -> Path:
        """Says that the file is complete, with hashes and sums; not part of records."""
        return self.path.with_name(f"{self.path.name}.json")


def write(shard: Shard, encode: Encode) -> None:
    """Writes a shard, then its note; each appears by one rename.

    Raises:
        InputError: If there is no space or no permission to write; no partial file
            stays.
    """
    temporary = shard.path.with_name(f"{shard.path.name}.tmp")
    regions = range(shard.first, shard.first + shard.length)
    try:
        inputs, pixels = _write_examples(temporary, encode(regions), shard.first)
        with disk.writing(shard.path):
            temporary.replace(shard.path)
            note = {
                "length": shard.length,
                "sha256": contents.of_file(shard.path),
                "inputs": seals.sum_of_inputs(inputs),
                "pixels": dataclasses.asdict(pixels),
            }
            temporary.write_text(json.dumps(note), encoding="utf-8")
            temporary.replace(shard.note)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def finished(shard: Shard) -> dict[str, Any] | None:
    """Returns length, hashes and sums of a complete shard; None of any other."""
    try:
        note = files.from_json(shard.note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(note, dict) or {*note} != _NOTED:
        return None  # of a program that noted less
    if note["length"] != shard.length or not shard.path.exists():
        return None
    return note if contents.of_file(shard.path) == note["sha256"] else None


def _write_examples(
    path: Path, examples: Iterator[tuple[bytes, PixelSums]], first: int
) -> tuple[list[int], PixelSums]:
    """Writes an ArrayRecord file; its writer tells of a full disk at the end.

    Returns:
        `seals.input_number` of every record; sums over the pixels of all.
    """
    writer, inputs = ArrayRecordWriter(str(path), _ARRAY_RECORD_OPTIONS), []
    pixels = []
    for place, (example, of_tile) in enumerate(examples, first):
        pixels.append(of_tile)
        inputs.append(seals.input_number(example, place))
        with _telling(path):
            writer.write(example)
    with _telling(path):
        writer.close()
    return inputs, PixelSums.over(pixels)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # "write() failed: No space left on device; ..."
        cause = str(error).split(";")[0].partition("failed: ")[2]
        raise disk.unwritable(path, cause or str(error)) from error
