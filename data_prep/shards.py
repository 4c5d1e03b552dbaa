"""A shard of records as a piece of work: written whole, and known to be whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from data_prep import disk
from mmgr_jax import files
from mmgr_jax.data import contents, seals

Encode = Callable[[Sequence[int]], Iterator[bytes]]
"""Serialised records of some regions, in their order. It travels to other processes, so
it must pickle."""

# One record a chunk: random access by the loader reads nothing else. PNG bytes do
# not compress further.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class Shard:
    """Neighbouring regions, in the order of the records, and the file they go to."""

    path: Path
    first: int
    length: int

    @property
    def note(self) -> Path:
        """Says that the file is whole, and its hashes; gone from finished records."""
        return self.path.with_name(f"{self.path.name}.json")


def write(shard: Shard, encode: Encode) -> None:
    """Writes a shard, then its note; both appear in one rename each.

    Raises:
        InputError: If there is no room or no right to write; nothing half stays.
    """
    temporary = shard.path.with_name(f"{shard.path.name}.tmp")
    regions = range(shard.first, shard.first + shard.length)
    try:
        inputs = _write_examples(temporary, encode(regions), shard.first)
        with disk.writing(shard.path):
            temporary.replace(shard.path)
            note = {
                "length": shard.length,
                "sha256": contents.of_file(shard.path),
                "inputs": seals.sum_of_inputs(inputs),
            }
            temporary.write_text(json.dumps(note), encoding="utf-8")
            temporary.replace(shard.note)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def finished(shard: Shard) -> dict[str, Any] | None:
    """Length and hashes of a shard that is whole, None of any other."""
    try:
        note = files.from_json(shard.note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(note, dict) or {*note} != {"length", "sha256", "inputs"}:
        return None  # of a program that noted less
    if note["length"] != shard.length or not shard.path.exists():
        return None
    return note if contents.of_file(shard.path) == note["sha256"] else None


def _write_examples(path: Path, examples: Iterator[bytes], first: int) -> list[int]:
    """Writes an ArrayRecord file; its writer tells of a full disk at the end.

    Returns:
        `seals.input_number` of every record.
    """
    writer, inputs = ArrayRecordWriter(str(path), _ARRAY_RECORD_OPTIONS), []
    for place, example in enumerate(examples, first):
        inputs.append(seals.input_number(example, place))
        with _telling(path):
            writer.write(example)
    with _telling(path):
        writer.close()
    return inputs


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # "write() failed: No space left on device; ..."
        cause = str(error).split(";")[0].partition("failed: ")[2]
        raise disk.unwritable(path, cause or str(error)) from error
