"""Decides which regions are tested together, so that neighbours do not leak."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int32

from data_prep.labels.known import Values
from data_prep.splits import blocks, correlogram
from data_prep.splits.settings import BlockSettings
from mmgr_jax.data import folds as folds_lib
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError

AUTO = "auto"
_RULES = {
    "block": "squares of {size_m:g} m, the largest first, each to the smallest fold",
    "random": "by the hash of the region's id",
}


@dataclasses.dataclass(frozen=True)
class Splits:
    """The splits of a city.

    Attributes:
        block_id: Spatial block of each region [r].
        folds: Kind of split -> fold of each region [r]; see `mmgr_jax.data.folds`.
        meanings: Kind of split -> what its column means.
        block_size_m: Side of a block in metres.
        report: How blocks were chosen, for the manifest.
    """

    block_id: Int32[np.ndarray, " r"]
    folds: Mapping[str, Int[np.ndarray, " r"]]
    meanings: Mapping[str, schema.SplitColumn]
    block_size_m: float
    report: Mapping[str, Any]


def assign(
    region_ids: Sequence[str],
    centre_m: Float[np.ndarray, "r 2"],
    overlap_group: Int[np.ndarray, " r"],
    labels: Mapping[str, tuple[schema.Label, Values]],
    settings: BlockSettings,
) -> Splits:
    """Blocks and folds of every region.

    Regions that overlap are never on two sides of a split: they share the block of the
    first of them by id, and in the random split its name. Where there are too few
    blocks or regions for the folds, that kind of split is left out, and the log says
    so.

    Args:
        region_ids: Name of each region [r].
        centre_m: East and north coordinate of each region's centre [r 2].
        overlap_group: Group of each region [r]: those that overlap share one.
        labels: Name -> meaning and values; read where `size_m` is "auto".
        settings: Size of the blocks, and what is made of them.
    """
    report: dict[str, Any] = {}
    size_m, num_folds = settings.size_m, settings.num_folds
    if size_m == AUTO:
        proposal = correlogram.propose(centre_m, labels, num_blocks=2 * num_folds)
        size_m, report["correlogram"] = proposal.size_m, proposal.to_json()
        logging.info("blocks: %s", proposal)
    size_m = float(size_m)
    first = _first_of_group(region_ids, overlap_group)
    cell = _cells(centre_m, size_m)[first]
    names = {
        "block": [f"{column} {row}" for row, column in cell.tolist()],
        "random": [region_ids[index] for index in first],
    }
    folds, failures = _deal(names, num_folds)
    if (failure := "no block split") in failures:
        failures[failure] += _proposal(centre_m, num_folds)
    for failure, reason in failures.items():
        logging.warning("%s is stored: %s", failure, reason)
    report |= failures
    meanings = {
        kind: schema.SplitColumn(
            num_folds=num_folds,
            buffer_m=settings.buffer_m if kind == "block" else 0.0,
            rule=_RULES[kind].format(size_m=size_m),
        )
        for kind in folds
    }
    report["regions in each fold"] = {
        kind: np.bincount(fold).tolist() for kind, fold in folds.items()
    }
    return Splits(_numbers(cell), folds, meanings, size_m, report)


def _deal(
    names: Mapping[str, Sequence[str]], num_folds: int
) -> tuple[dict[str, Int[np.ndarray, " r"]], dict[str, str]]:
    """The folds of each kind of split, and why some kinds have none."""
    folds, failures = {}, {}
    for kind, deal in (("block", folds_lib.by_block), ("random", folds_lib.by_hash)):
        try:
            folds[kind] = deal(names[kind], num_folds=num_folds)
        except InputError as error:
            failures[f"no {kind} split"] = str(error)
    return folds, failures


def _proposal(centre_m: Float[np.ndarray, "r 2"], num_folds: int) -> str:
    """A size of blocks that works, as a sentence; "" where none does."""
    step_m = correlogram.spacing_m(centre_m)
    size_m = blocks.fitting_size_m(centre_m, step_m, num_folds)
    if size_m is None:
        return ""
    count = blocks.count(centre_m, size_m)
    return f" config.blocks.size_m={size_m:g} would make {count} blocks."


def _cells(
    centre_xy_m: Float[np.ndarray, "r 2"], size_m: float
) -> Int[np.ndarray, "r 2"]:
    """Row, counted southwards, and column of each centre's block.

    Edges lie at whole multiples of `size_m` in the CRS, whatever regions there are.
    """
    column = np.floor(centre_xy_m[:, 0] / size_m).astype(np.int64)
    row = -np.floor(centre_xy_m[:, 1] / size_m).astype(np.int64)
    return np.stack([row, column], axis=1)


def _numbers(cells: Int[np.ndarray, "r 2"]) -> Int32[np.ndarray, " r"]:
    """Blocks counted row by row from the north-west, empty ones skipped."""
    _, ids = np.unique(cells, axis=0, return_inverse=True)
    return ids.reshape(-1).astype(np.int32)


def _first_of_group(
    region_ids: Sequence[str], group: Int[np.ndarray, " r"]
) -> Int[np.ndarray, " r"]:
    """Index of the first region by id of each region's group [r]."""
    by_id = np.argsort(np.asarray(region_ids, str), kind="stable")
    _, first, member = np.unique(group[by_id], return_index=True, return_inverse=True)
    leader = np.empty(len(group), np.int64)
    leader[by_id] = by_id[first[member]]
    return leader
