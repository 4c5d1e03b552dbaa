"""Folds of regions that are tested together, and the file `splits.csv` of folds.

`splits.csv` in the records folder has one row per region. The columns are the id of the
region and, for each kind of split in the manifest, its fold, counted from 0.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from mmgr_jax.data import schema
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

MIN_FOLDS = 3
"""Smallest number: one fold to test, one to choose the strength, the rest to train."""

DEFAULT_FOLDS = 5
_ID = "region_id"


def by_block(
    block: Sequence[str], *, num_folds: int, seed: int = 0
) -> Int[np.ndarray, " r"]:
    """Folds of about equal size that keep the regions of a block together.

    Blocks are taken in order of size, the largest first. Blocks of equal size are taken
    in the order of the hashes of their names. Each goes to the smallest fold so far.
    The result depends on the blocks and the seed, not on the order of the regions. If
    regions are added, blocks may move.

    Args:
        block: Name of the block of each region [r].
        num_folds: Number of folds, at least `MIN_FOLDS`.
        seed: Another seed gives another distribution.

    Returns:
        Fold of each region, from 0; every fold has at least one.

    Raises:
        InputError: If there are fewer blocks than folds, or fewer than 3 folds.
    """
    check_count(num_folds)
    names, member, sizes = np.unique(
        np.asarray(block, str), return_inverse=True, return_counts=True
    )
    if len(names) < num_folds:
        raise InputError(
            f"{len(names)} spatial blocks cannot fill {num_folds} folds. Make blocks "
            "smaller (config.blocks.size_m, then build the records again) or ask for "
            "fewer folds (config.blocks.num_folds, or config.eval.num_folds for one "
            f"evaluation; at least {MIN_FOLDS})."
        )
    fold_of_block = np.empty(len(names), np.int64)
    fold_sizes = np.zeros(num_folds, np.int64)
    for index in np.lexsort((_hashes(names.tolist(), seed), -sizes)):
        smallest = int(np.argmin(fold_sizes))
        fold_of_block[index] = smallest
        fold_sizes[smallest] += sizes[index]
    return fold_of_block[member]


def by_hash(
    names: Sequence[str], *, num_folds: int, seed: int = 0
) -> Int[np.ndarray, " r"]:
    """Folds by the hash of each region's name, without regard to its neighbours.

    Regions that are added later do not move others. If there are so few regions that a
    fold would be empty, names go to the folds in turn, in the order of their hashes.

    Args:
        names: Name of each region [r]; regions of the same name stay together.
        num_folds: Number of folds, at least `MIN_FOLDS`.
        seed: Another seed gives another distribution.

    Returns:
        Fold of each region, from 0; every fold has at least one.

    Raises:
        InputError: If there are fewer names than folds, or fewer than 3 folds.
    """
    check_count(num_folds)
    unique, member = np.unique(np.asarray(names, str), return_inverse=True)
    if len(unique) < num_folds:
        raise InputError(
            f"{len(unique)} regions that do not overlap cannot fill {num_folds} folds "
            f"(config.eval.num_folds, at least {MIN_FOLDS})."
        )
    hashes = _hashes(unique.tolist(), seed)
    fold = (hashes % np.uint64(num_folds)).astype(np.int64)
    if len(np.unique(fold)) < num_folds:
        fold[np.argsort(hashes)] = np.arange(len(unique)) % num_folds
    return fold[member]


def check_count(num_folds: int) -> None:
    """Raises InputError if there are fewer folds than `MIN_FOLDS`."""
    if num_folds < MIN_FOLDS:
        raise InputError(
            f"config.eval.num_folds is {num_folds}: at least {MIN_FOLDS} are needed, "
            "one to test on, one to choose the strength on and the rest to train on."
        )


def write(
    records_dir: str | Path,
    region_ids: Sequence[str],
    folds: Mapping[str, Int[np.ndarray, " r"]],
) -> None:
    """Writes `splits.csv`: the fold of each region for each kind of split."""
    path = Path(records_dir) / schema.SPLITS_FILE
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((_ID, *folds))
    columns = (fold.tolist() for fold in folds.values())
    writer.writerows(zip(region_ids, *columns, strict=True))
    files.write_text(path, file.getvalue())


def read(
    records_dir: str | Path, manifest: schema.Manifest, region_ids: Sequence[str]
) -> dict[str, Int[np.ndarray, " r"]]:
    """Reads the fold of each region for each kind of split that the manifest names.

    Args:
        records_dir: The records folder.
        manifest: Its manifest.
        region_ids: Names of the regions, in the order of the result.

    Returns:
        Kind -> fold [r]; empty for records without stored splits.

    Raises:
        InputError: If the file is missing, damaged or lacks a region.
    """
    if not manifest.splits:
        return {}
    path = Path(records_dir) / schema.SPLITS_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row[_ID]: row for row in csv.DictReader(file)}
        folds = {
            kind: np.array([int(rows[region][kind]) for region in region_ids])
            for kind in manifest.splits
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        refusals.refuse_unreadable(path, error)
        raise InputError(
            f"{path}: does not hold the folds of all {len(region_ids)} regions "
            f"({type(error).__name__}: {error}). Build the records again, or make new "
            "folds with another config.eval.seed."
        ) from error
    for kind, fold in folds.items():
        num_folds = manifest.splits[kind].num_folds
        if fold.min() < 0 or fold.max() >= num_folds:
            raise InputError(
                f"{path}, column {kind!r}: folds {fold.min()} to {fold.max()}, but "
                f"{schema.MANIFEST_FILE} says {num_folds} folds. Build the records "
                "again."
            )
    return folds


def _hashes(names: Sequence[str], seed: int) -> np.ndarray:
    """A number for each name [m], the same on every machine."""
    digests = (
        hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
        for name in names
    )
    return np.frombuffer(b"".join(digests), "<u8")
