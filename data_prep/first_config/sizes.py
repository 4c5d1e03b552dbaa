"""Chooses the sizes of regions, blocks and batches from the imagery."""

from __future__ import annotations

import dataclasses
import math

from data_prep.first_config.answers import Answer, Answers, Written
from data_prep.first_config.imagery import ImageryFacts
from data_prep.imagery.mosaic import Imagery
from data_prep.regions.cutting import cut
from data_prep.regions.settings import RegionSettings
from data_prep.splits import blocks
from data_prep.splits.settings import BlockSettings
from mmgr_jax.data import folds
from mmgr_jax.errors import InputError

_LAPTOP_PX, _FULL_PX = 64, 224
_SIDE_M = 224.0  # what 224 px of 1 m show
_SMALLEST_M = 96.0
_WANTED_REGIONS = 400
_LAPTOP_BATCH = 64
_WANTED_STEPS = 600
_MIN_EPOCHS, _MAX_EPOCHS = 24, 120


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of regions, blocks and batches.

    Attributes:
        answers: Answers for `c.regions`, `c.blocks`, `c.train` and the batch.
        summary: Everything in one line.
    """

    answers: Answers
    summary: str


def choose(facts: ImageryFacts) -> Sizes:
    """Chooses sizes for a laptop from the regions that the imagery really gives."""
    side_m = region_side_m(facts.gsd_m, facts.area_m2)
    gsd_m = Written(f"{side_m:g} / {_FULL_PX}")
    answers: Answers = {
        "c.regions.kind": facts.answers["c.regions.kind"],
        "c.regions.tile_size_px": Answer(_FULL_PX),
        "c.regions.gsd_m": Answer(
            gsd_m,
            f"regions of {side_m:g} m; 64 px of {side_m / _LAPTOP_PX:g} m on a laptop",
        ),
    }
    settings = RegionSettings(
        tile_size_px=_LAPTOP_PX,
        gsd_m=side_m / _LAPTOP_PX,
        max_blank_share=1.0,
    )
    try:
        with Imagery(facts.settings, crs=facts.crs, gsd_m=settings.gsd_m) as imagery:
            regions = cut(imagery, facts.crs, settings)
    except InputError as error:
        question = f"no regions of this size: {error}"
        answers["c.regions.gsd_m"] = Answer(gsd_m, ask=question)
        return Sizes(answers, f"regions: {error}")
    count = len(regions)
    answers |= _batches(count)
    for num_folds in (BlockSettings().num_folds, folds.MIN_FOLDS):
        size_m = blocks.fitting_size_m(regions.centre_m, side_m, num_folds)
        if size_m is not None:
            break
    else:
        answers["c.blocks.size_m"] = Answer(
            side_m, ask=f"{count} regions cannot fill three folds: more imagery?"
        )
        return Sizes(answers, f"regions: {count} of {side_m:g} m, too few")
    num_blocks = blocks.count(regions.centre_m, size_m)
    few = num_blocks < blocks.BLOCKS_A_FOLD * num_folds
    why = f"{num_blocks} blocks for {num_folds} folds"
    answers["c.blocks.size_m"] = Answer(size_m, why + (", which is few" if few else ""))
    answers["c.blocks.num_folds"] = Answer(num_folds)
    return Sizes(
        answers,
        f"regions: {count:,} of {side_m:g} m in {num_blocks} blocks of {size_m:g} m",
    )


def machine(num_accelerators: int) -> Answers:
    """Returns the variant for the machine that will train.

    Args:
        num_accelerators: Number of its GPUs or TPU cores.
    """
    names = {0: "laptop", 1: "gpu"}
    why = f"{num_accelerators} accelerator(s)" if num_accelerators else "no accelerator"
    return {
        "MACHINE": Answer(
            names.get(num_accelerators, "pod"), f"{why} here; or another variant"
        )
    }


def region_side_m(gsd_m: float, area_m2: float) -> float:
    """Chooses a region's side: near 224 m, smaller for a small place, at least 64 px.

    Args:
        gsd_m: Side of the imagery's pixels.
        area_m2: Ground that the imagery shows.

    Returns:
        The side in metres; a whole multiple of 64 pixels of the imagery where these are
        fine enough.
    """
    fits_m = math.sqrt(area_m2 / _WANTED_REGIONS)
    wanted_m = min(_SIDE_M, max(fits_m, _SMALLEST_M))
    tile_m = _LAPTOP_PX * gsd_m
    return round(max(round(wanted_m / tile_m), 1) * tile_m, 3)


def _batches(count: int) -> Answers:
    """An eighth of the regions a step, and epochs for some hundred steps."""
    largest = 2 ** max(int(math.log2(max(count / 8, 2))), 1)
    an_epoch = max(count // min(largest, _LAPTOP_BATCH), 1)
    epochs = min(max(math.ceil(_WANTED_STEPS / an_epoch), _MIN_EPOCHS), _MAX_EPOCHS)
    return {
        "LARGEST_BATCH": Answer(largest, f"regions a step at most, of {count:,}"),
        "c.train.total": Answer(
            f"{epochs} epochs", f"{an_epoch * epochs:,} steps or a little more"
        ),
    }
