"""Draws a contact sheet of the views used in training."""

import functools
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from mmgr_jax import run_settings, settings, summary
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import two_views
from mmgr_jax.data import corpus
from mmgr_jax.data.source import open_source
from mmgr_jax.errors import InputError
from mmgr_jax.models.readout import IMAGENET_MEAN, IMAGENET_STD

PAIRS = 3  # of views a tile
CELL_INCHES = 1.25
LEFT_INCHES = 0.95  # room for the names of the regions
TITLE_INCHES = 0.75
FOOT_INCHES = 0.75
GAP_INCHES = 0.05


def draw_views(config: ConfigDict, out: str | Path, rows: int) -> Path:
    """Writes a PNG with a row for each region: its tile and `PAIRS` pairs of views.

    Args:
        config: The configuration of a city whose records exist.
        out: The PNG to write.
        rows: Number of regions to show, drawn at random by `config.seed`.

    Raises:
        InputError: If there are no records, or `out` or `rows` is not allowed.
    """
    out = Path(out)
    if out.suffix != ".png":
        raise InputError(f"--out={out}: give a file name that ends in .png.")
    source = open_source(config)
    if not 1 <= rows <= len(source):
        raise InputError(f"--rows={rows}: take 1 to {len(source)}, the regions there.")
    seed = run_settings.read(config).seed
    rng = np.random.default_rng(seed)
    records = [source[int(i)] for i in rng.permutation(len(source))[:rows]]
    tiles = np.stack([record["image"] for record in records])
    augment = settings.read(AugmentSettings, config.augment, "augment")
    palette = corpus.palettes(source, augment.normalise)
    draw = jax.jit(functools.partial(two_views, settings=augment))
    pairs = []
    for key in jax.random.split(jax.random.key(seed), PAIRS):
        views = draw(tiles, key, palette=palette)
        pairs.append(displayed(np.asarray(views)))
    figure = contact_sheet(
        tiles,
        np.stack(pairs),
        names=[record["region_id"] for record in records],
        title=f"{config.city.name}: {rows} tiles of {config.regions.tile_size_px} px "
        f"at {config.regions.gsd_m:g} m, and views of {augment.size_px} px",
        note=settings_line(augment),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    figure = f"{rows} tiles with {PAIRS} pairs of views each"
    summary.end([figure], {"picture to open": out})
    return out


def displayed(views: Float[np.ndarray, "v b s s 3"]) -> UInt8[np.ndarray, "v b s s 3"]:
    """Turns normalised views back into colours, clipped at black and white."""
    colour = views * IMAGENET_STD + IMAGENET_MEAN
    return np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)


def contact_sheet(
    tiles: UInt8[np.ndarray, "r h w 3"],
    pairs: UInt8[np.ndarray, "t v r s s 3"],
    *,
    names: list[str],
    title: str,
    note: str,
) -> Figure:
    """Draws the figure: tiles in the first column, then t pairs of views."""
    shown = [tiles, *pairs.reshape(-1, *pairs.shape[2:])]
    heads = ["tile", *(f"view {1 + view}" for _ in pairs for view in range(2))]
    # A wider gap before each pair keeps together what the loss pulls together.
    lefts = [
        LEFT_INCHES + column * (CELL_INCHES + GAP_INCHES) + (column + 1) // 2 * 0.15
        for column in range(len(shown))
    ]
    width = lefts[-1] + CELL_INCHES + 0.2
    height = TITLE_INCHES + len(tiles) * (CELL_INCHES + GAP_INCHES) + FOOT_INCHES
    figure = Figure(figsize=(width, height))
    for column, (left, images) in enumerate(zip(lefts, shown, strict=True)):
        for row, image in enumerate(images):
            top = height - TITLE_INCHES - row * (CELL_INCHES + GAP_INCHES)
            axes = figure.add_axes(
                (
                    left / width,
                    (top - CELL_INCHES) / height,
                    CELL_INCHES / width,
                    CELL_INCHES / height,
                )
            )
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(heads[column], fontsize=9, pad=4)
            if column == 0:
                axes.text(-0.06, 0.5, names[row], fontsize=8, ha="right", va="center",
                          transform=axes.transAxes)  # fmt: skip
    figure.text(0.2 / width, 1 - 0.2 / height, title, fontsize=11, va="top")
    figure.text(0.2 / width, 0.2 / height, note, fontsize=8, va="bottom", wrap=True)
    return figure


def settings_line(augment: AugmentSettings) -> str:
    """Describes the augmentation in words."""
    low, high = augment.crop_area
    turns = [
        name.replace("_", " ")
        for name in ("horizontal_flip", "vertical_flip", "quarter_turns")
        if getattr(augment, name)
    ]
    return (
        f"Crops of {low:.0%} to {high:.0%} of the tile; colours changed with "
        f"probability {augment.jitter_probability:g} (brightness "
        f"{augment.brightness:g}, contrast {augment.contrast:g}, saturation "
        f"{augment.saturation:g}, hue {augment.hue:g}),\ngrey with probability "
        f"{augment.grey_probability:g}; {', '.join(turns) or 'no flips'}. "
        "Each pair is what one training step would compare."
    )
