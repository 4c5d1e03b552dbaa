"""The protocol of the study of representations: cities, seeds, and all ways tried.

Choices are made on the development cities alone. The held-out cities are looked at
once, by the ways that were chosen. Every way trains for the same number of steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import toy_city

DEVELOPMENT = (0, 1, 2)
"""`toy_city.seed` of the cities that choices are made on."""

HELD_OUT = (10, 11, 12, 13, 14)
"""And of those that no choice has seen."""

TRAINING_SEEDS = (0, 1, 2)
CHOSEN = ("recommended", "paper")
"""What is looked at on held-out cities."""

HARDER: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "sensor noise": {"sensor_noise": 8.0},
    "haze": {"haze": 0.5},
    "seasons in strips": {"season": 0.8, "season_strips_m": 640.0},
    "low sun": {"sun_elevation_deg": 30.0},
    "POIs 50 m off": {"poi_shift_m": (50.0, 0.0)},
    "POIs scattered by 50 m": {"poi_scatter_m": 50.0},
    "a third of POIs missing": {"poi_missing": 1 / 3},
}
"""Name of a difficulty -> settings of section `toy_city`; see docs/toy_city.md."""

FOLDER = "runs/representation"
RESULT = "result.npz"
"""What a job leaves in its folder."""


Changes = Mapping[str, Any]
"""Key of the config, such as "loss.temperature" -> value."""


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to learn or to read a representation.

    Attributes:
        sentence: What is different, for the table.
        changes: What it changes in the recipe.
        recipe: Variant of configs/toy_city.py that it starts from.
        trained: Name of the way whose training it shares, where it only reads
            differently; empty for its own.
        code: Function of `benchmarks.lost_ways` that the way needs, for what lost and
            is no part of the program; empty for none.
    """

    sentence: str
    changes: Changes = dataclasses.field(default_factory=dict)
    recipe: str = ""
    trained: str = ""
    code: str = ""


WAYS: Mapping[str, Way] = {
    "recommended": Way("the recipe `recommended`"),
    "paper": Way("the recipe `paper`, as this config had it", recipe="paper"),
    # -- one part of the recipe taken back at a time
    "no counts": Way(
        "POI encoders without counts", {"model.poi_encoder.counts": False}
    ),
    "weak colours": Way(
        "a little jitter of colour", {"augment.jitter_probability": 0.8}
    ),
    "paper's colours": Way(
        "the paper's colour jitter and grey",
        {
            "augment.jitter_probability": 0.8,
            "augment.brightness": 0.4,
            "augment.contrast": 0.4,
            "augment.saturation": 0.4,
            "augment.hue": 0.1,
            "augment.grey_probability": 0.2,
        },
    ),
    "crops from 0.2": Way("the paper's crops", {"augment.crop_area": (0.2, 1.0)}),
    "crops from 0.8": Way("larger crops", {"augment.crop_area": (0.8, 1.0)}),
    "pooled": Way(
        "heads read the last map's mean alone",
        {"readout.image": "pooled"},
        trained="recommended",
    ),
    "columns": Way(
        "heads penalise every column alike",
        {"readout.groups": "columns"},
        trained="recommended",
    ),
    "no surroundings": Way(
        "heads read the region alone",
        {"readout.surroundings_m": ()},
        trained="recommended",
    ),
    "touching": Way(
        "regions that train read tested neighbours, too",
        trained="recommended",
        code="touching",
    ),
    "apart": Way(
        "regions beside a tested one do not train",
        {"eval.buffer_m": 73.0},
        trained="recommended",
    ),
    "buffered": Way(
        "regions within 205 m of a tested one do not train",
        {"eval.buffer_m": 205.0},
        trained="recommended",
    ),
    "buffered alone": Way(
        "the same, and heads read the region alone",
        {"eval.buffer_m": 205.0, "readout.surroundings_m": ()},
        trained="recommended",
    ),
    "400 m around": Way(
        "surroundings within 400 m in place of 205 m",
        {"readout.surroundings_m": (400.0,)},
        trained="recommended",
    ),
    "two rings": Way(
        "surroundings within 205 m, and within 400 m",
        {"readout.surroundings_m": (205.0, 400.0)},
        trained="recommended",
    ),
    "projections": Way(
        "what the losses see is read, too", trained="recommended", code="projections"
    ),
    "turned": Way(
        "what is read is the mean over eight turns and flips",
        trained="recommended",
        code="turned",
    ),
    "wide view": Way(
        "the tile with its eight neighbours is read, too",
        trained="recommended",
        code="wide_view",
    ),
    # -- weights of the losses, temperature, encoders
    "lambda 0": Way("the loss of images and POIs alone", {"loss.image_weight": 0.0}),
    "lambda 0.5": Way("both losses alike, as the paper", {"loss.image_weight": 0.5}),
    "lambda 1": Way("images alone: no POIs in training", {"loss.image_weight": 1.0}),
    "temperature 0.1": Way("a lower temperature", {"loss.temperature": 0.1}),
    "rate 4e-3": Way("twice the learning rate", {"optim.learning_rate": 4e-3}),
    "rate 1e-3": Way("half the learning rate", {"optim.learning_rate": 1e-3}),
    "900 steps": Way("half as many steps again", {"train.total": "900 steps"}),
    "batches of 128": Way(
        "half as many steps of twice the size", {"data.batch_size": 128}
    ),
    "attention": Way(
        "POIs by attention, with places", {"model.poi_encoder.name": "attention"}
    ),
    "views of 48 px": Way("smaller views, a third less time", {"augment.size_px": 48}),
    # -- tried and lost: code in lost_ways.py
    "noise": Way("Gaussian noise on views", code="noise"),
    "blur": Way("half of the views blurred", code="blur"),
    "erasing": Way("a quarter of each view hidden", code="erasing"),
    "two scales": Way(
        "view 2 is of the tile and its eight neighbours", code="two_scales"
    ),
    "shifted": Way("view 2 is of ground half a tile off at most", code="shifted"),
    "masked modelling": Way(
        "the image from a masked view, beside the contrast", code="masked_modelling"
    ),
    "counts from images": Way(
        "log counts of POIs regressed from the image, beside the contrast",
        code="counts_from_images",
    ),
    "sigmoid": Way("the sigmoid loss of SigLIP", code="sigmoid"),
    "no near negatives": Way(
        "regions within 200 m are no negatives", code="no_near_negatives"
    ),
    "POIs dropped": Way(
        "a quarter of the POIs hidden in training", code="pois_dropped"
    ),
}


def city_config(seed: int, way: str = "recommended", harder: str = "") -> ConfigDict:
    """The generated city of a seed, with the settings of a way.

    Args:
        seed: `toy_city.seed`.
        way: A key of `WAYS`.
        harder: A key of `HARDER`; empty for none.
    """
    of = WAYS[way]
    c = toy_city.get_config(of.recipe or None)
    place = f"{FOLDER}/cities/{seed}{'_' + harder.replace(' ', '_') if harder else ''}"
    c.toy_city.update(HARDER[harder] if harder else {})
    before = c.toy_city.out_dir
    c.toy_city.seed = seed
    c.toy_city.out_dir = f"{place}/raw"
    c.imagery.paths = tuple(_moved(path, before, place) for path in c.imagery.paths)
    c.pois.path = _moved(c.pois.path, before, place)
    for label in c.labels.values():
        label.path = _moved(label.path, before, place)
    c.records.dir = f"{place}/records"
    for key, value in of.changes.items():
        section, _, name = key.rpartition(".")
        target = c
        for part in section.split("."):
            target = target[part]
        target[name] = value
    return c


def _moved(path: str, before: str, place: str) -> str:
    assert path.startswith(before), path
    return f"{place}/raw{path.removeprefix(before)}"
