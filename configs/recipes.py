"""Recipes: changes to a config that serve any city.

`configs/CITY.py:recommended,runlocal` applies several, in order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mmgr_jax.errors import InputError
from mmgr_jax.settings import nearest


def parse_variants(argument: str | None, allowed: Iterable[str]) -> tuple[str, ...]:
    """Returns the variants of `FILE.py:one,another` in order; () when there is none.

    Raises:
        InputError: If a variant is not allowed.
    """
    names = tuple(filter(None, (name.strip() for name in (argument or "").split(","))))
    for name in names:
        if name not in (known := tuple(allowed)):
            raise InputError(
                f"variant {name!r} is unknown{nearest(name, known)}; allowed: "
                f"{', '.join(known)}, several by commas, or none."
            )
    return names


def parse_variant(argument: str | None, allowed: tuple[str, ...]) -> str:
    """The one variant behind `FILE.py:variant`, "" when there is none.

    Raises:
        InputError: If the variant is not allowed, or there are several.
    """
    names = parse_variants(argument, allowed)
    if len(names) > 1:
        raise InputError(f"variants {argument!r}: this configuration takes one.")
    return names[0] if names else ""


def apply(
    c: ConfigDict,
    names: Sequence[str],
    variants: Mapping[str, Callable[[ConfigDict], Any]],
) -> ConfigDict:
    """Applies variants to a config in order; each changes the previous result."""
    for name in names:
        variants[name](c)
    return c


def released(c: ConfigDict) -> ConfigDict:
    """Follows the released program in everything that changes numbers.

    BatchNorm statistics are those of each view, as in `paper`; beyond it the learning
    rate slips back after one epoch, the regions of a short batch wait for another
    epoch, and empty POI sets answer one constant and repel each other. What stays out:
    its pairing of wrong rows on several devices, and the row it loses when the last
    region of a batch has no POI.
    """
    c.workdir += "_released"
    c.optim.schedule = "step_slipping"
    c.data.short_batch = "drop"
    c.model.poi_encoder.empty = "constant"
    c.loss.empty_sets = "repel"
    return c


def large_batch(c: ConfigDict) -> ConfigDict:
    """Thousands of regions a step, on an accelerator or many.

    Both views are compared with the POIs. BatchNorm reads both views in one pass, on
    each device only that device's rows; AdamW with warm-up and cosine, its rate for 256
    regions grown with the square root of the batch (LARS: `--config.optim.name=lars
    --config.optim.learning_rate=0.3 --config.optim.batch_scaling=linear
    --config.optim.weight_decay=1e-6`); a learnt temperature; bfloat16; and flips and
    turns, since no direction is up in a view from above.
    """
    c.workdir += "_large_batch"
    c.data.batch_size = 4096
    c.model.batch_statistics = "joint"
    c.model.batch_norm = "local"
    c.model.learn_temperature = True
    c.model.dtype = "bfloat16"
    c.loss.symmetric = True
    c.loss.temperature = 0.2
    c.loss.matmul_dtype = "bfloat16"
    c.train.gradient_dtype = "bfloat16"
    c.augment.vertical_flip = True
    c.augment.quarter_turns = True
    c.optim.name = "adamw"
    c.optim.learning_rate = 5e-4
    c.optim.batch_scaling = "sqrt"
    c.optim.schedule = "cosine"
    c.optim.warmup = "10 epochs"
    c.optim.weight_decay = 0.05
    return c


def run_local(c: ConfigDict) -> ConfigDict:
    """Shrinks a city to a laptop: 64 px tiles of the same ground, a small encoder."""
    shrink = 64 / c.regions.tile_size_px
    c.workdir += "_runlocal"
    c.records.dir += "_runlocal"
    c.regions.gsd_m = c.regions.gsd_m / shrink
    c.regions.tile_size_px = 64
    c.regions.max_regions = 1000
    c.augment.size_px = 64
    c.data.batch_size = 64
    c.model.image_encoder = dict(name="resnet_small", width=32)
    c.optim.learning_rate = 1e-3
    c.optim.decay_at = ("8 epochs",)
    c.train.total = "10 epochs"
    return c


def nadir(c: ConfigDict) -> ConfigDict:
    """Views for imagery from straight above.

    No direction is up, so views are flipped and turned. Colour shows what covers the
    ground, so it is changed only a little, as it varies between flights; imagery of one
    flight needs no change at all (`augment.jitter_probability=0.0`). A crop keeps at
    least half of the tile, since the amount of each land cover describes a region.
    """
    c.augment.crop_area = (0.5, 1.0)
    c.augment.brightness = 0.2
    c.augment.contrast = 0.2
    c.augment.saturation = 0.2
    c.augment.hue = 0.02
    c.augment.grey_probability = 0.0
    c.augment.vertical_flip = True
    c.augment.quarter_turns = True
    return c


def recommended(c: ConfigDict) -> ConfigDict:
    """The recipe that won on cities not used to choose it: docs/representation.md.

    It has views for imagery from above (`nadir`), POI encoders that count, the loss
    between POIs and both views, and heads that read every stage, the POIs and, on a
    grid, the neighbouring regions.
    """
    nadir(c)
    c.model.poi_encoder.counts = True
    c.loss.symmetric = True
    c.loss.temperature = 0.2
    c.readout.image = "stages"
    c.readout.groups = "alike"
    if c.regions.kind == "grid":  # the eight regions around each
        c.readout.surroundings_m = (1.6 * c.regions.tile_size_px * c.regions.gsd_m,)
    c.eval.features = ("image", "poi", "both", "all")
    c.embed.features = "both"
    return c


def laptop(c: ConfigDict) -> ConfigDict:
    """Two cores, 8 GB and no GPU: `recommended`, small tiles and encoder, 24 epochs."""
    shrink = 64 / c.regions.tile_size_px
    c.workdir += "_laptop"
    c.records.dir += "_laptop"
    c.cpu_devices = 2
    c.regions.gsd_m = c.regions.gsd_m / shrink  # the same ground
    c.regions.tile_size_px = 64
    recommended(c)
    c.augment.size_px = 64
    c.data.batch_size = 64
    c.model.image_encoder = dict(name="resnet_small", width=24, stem="conv7s4")
    c.optim.learning_rate = 1e-3
    c.optim.schedule = "cosine"
    c.optim.warmup = "2 epochs"
    c.train.total = "24 epochs"
    return c


def gpu(c: ConfigDict) -> ConfigDict:
    """One GPU with 24 GB or more: `recommended`, 256 regions a step in bfloat16."""
    workdir = c.workdir
    pod(c)
    c.workdir = f"{workdir}_gpu"
    c.data.batch_size = 256
    return c


def pod(c: ConfigDict) -> ConfigDict:
    """Several accelerators: `recommended` and `large_batch`."""
    workdir = c.workdir
    large_batch(recommended(c))
    c.workdir = f"{workdir}_pod"
    return c


def paper(c: ConfigDict) -> ConfigDict:
    """The method as Bai et al. (2023) describe it: the settings of `base`."""
    return c


RECIPES = {
    "paper": paper,
    "recommended": recommended,
    "released": released,
    "large_batch": large_batch,
    "runlocal": run_local,
    "laptop": laptop,
    "gpu": gpu,
    "pod": pod,
}


def image_only(c: ConfigDict) -> ConfigDict:
    """Images alone: for cities without POIs, and to see what POIs teach."""
    c.loss.image_weight = 1.0
    c.eval.features = ("image",)
    c.embed.features = "image"
    return c


_SIZES = ("laptop", "paper", "released", "large_batch", "runlocal", "gpu", "pod")


def with_size(names: Sequence[str], machine: str = "laptop") -> tuple[str, ...]:
    """Returns the variants, with `machine` first where none names a machine."""
    return tuple(names) if set(names) & set(_SIZES) else (machine, *names)
