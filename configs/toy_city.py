"""A generated city with known truth: the whole path in minutes on a laptop.

Training and evaluation follow `common.recommended`, but without any change of colour,
because its picture is from one sensor and one day.

Variants, beside those of configs/shanghai.py:
    paper        the paper's views, POI encoder and features instead
    image_only   the intra-modal loss alone (lambda = 1), to see what POIs teach
    smoke        a few regions and steps, for tests
    later        the same city five years on: some blocks rebuilt, another flight,
                 another season and sun; records and runs in folders of their own
"""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from configs import common
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax.parts import section

LATER: dict[str, Any] = dict(
    rebuilt_share=0.04,
    flight=1,
    imagery_shift_m=(0.8, -0.6),
    season=0.2,
    haze=0.05,
    sun_azimuth_deg=160.0,
    sun_elevation_deg=60.0,
)
"""What is other five years on."""


def get_config(variant: str | None = None) -> ConfigDict:
    """The toy city, optionally in variants."""
    names = common.parse_variants(variant, VARIANTS)
    name = "toy_city_smoke" if "smoke" in names else "toy_city"
    if "later" not in names:
        return generated(name, name, ToyCitySettings(f"data/{name}/raw"), names)
    name += "_later"
    return generated(name, name, ToyCitySettings(f"data/{name}/raw", **LATER), names)


def paper(c: ConfigDict) -> None:
    """Uses the paper's views, POI encoder and features, as `base` does."""
    c.workdir += "_paper"


def image_only(c: ConfigDict) -> None:
    """The intra-modal loss alone."""
    c.workdir += "_image_only"
    c.loss.image_weight = 1.0


def smoke(c: ConfigDict) -> None:
    """Few regions and steps."""
    c.toy_city.size_regions = (8, 8)
    c.blocks.size_m = 256.0
    c.data.batch_size = 16
    c.model.image_encoder.width = 8
    c.train.total = "2 epochs"
    c.train.log_every = "1 steps"


def later(c: ConfigDict) -> None:
    """Sets the year of a later state; `LATER` holds the rest."""
    for source in (c.imagery, c.pois, *c.labels.values()):
        source.year = 2031


VARIANTS = common.RECIPES | {
    "paper": paper,
    "image_only": image_only,
    "smoke": smoke,
    "later": later,
}


def generated(
    name: str, folder: str, city: ToyCitySettings, variants: Sequence[str]
) -> ConfigDict:
    """Returns the config of a generated city; all are trained on in the same way.

    Args:
        name: Short name of the city.
        folder: Where its records and runs go, below `data/` and `runs/`.
        city: The city; its difficulties and its style are in docs/toy_city.md.
        variants: Keys of `VARIANTS`.
    """
    c = _city(name, folder, city)
    if "paper" not in variants:
        common.recommended(c)
        c.augment.jitter_probability = 0.0
    return common.apply(c, variants, VARIANTS)


def _city(name: str, folder: str, city: ToyCitySettings) -> ConfigDict:
    c = common.base(name, crs=city.crs)
    c.workdir = f"runs/{folder}"
    c.records.dir = f"data/{folder}/records"
    raw = city.out_dir
    c.toy_city = section(city)
    c.imagery.paths = (f"{raw}/imagery.tif",)
    c.pois.path = f"{raw}/pois.parquet"
    c.pois.crs = "EPSG:4326"
    c.pois.parent_column = "parent"
    made: dict[str, Any] = dict(year=2026, source="generated", licence="CC0-1.0")
    c.imagery.update(made)
    c.pois.update(made)
    c.labels.function = common.share_label(f"{raw}/zones.gpkg", column="zone", **made)
    c.labels.population = common.count_label(
        f"{raw}/population.tif", unit="persons", **made
    )
    c.labels.gdp = common.count_label(f"{raw}/gdp.tif", unit="million CNY", **made)
    c.regions.tile_size_px = 64
    c.regions.gsd_m = 2.0
    c.blocks.size_m = 768.0
    c.records.num_shards = 4
    c.category_vectors.method = "random"  # tuned below: the city teaches them

    c.augment.size_px = 64
    c.augment.vertical_flip = True  # from above, no direction is up
    c.augment.quarter_turns = True
    c.cpu_devices = 2  # the step takes two thirds of the time; a number, to repeat runs
    c.data.batch_size = 64  # few regions: more, smaller steps
    c.model.image_encoder = dict(name="resnet_small", width=24, stem="conv7s4")
    c.model.poi_encoder.vectors = "tuned"
    c.loss.temperature = 0.2
    c.loss.symmetric = True
    c.loss.image_weight = 0.2  # what only POIs can teach takes longest to learn
    c.optim.learning_rate = 2e-3
    c.optim.schedule = "cosine"
    c.optim.warmup = "2 epochs"
    c.train.total = "24 epochs"
    c.train.log_every = "50 steps"
    return c
