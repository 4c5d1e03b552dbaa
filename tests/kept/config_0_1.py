"""A generated city with known truth: the whole path in minutes on a laptop.

Variants:
    image_only   the intra-modal loss alone (lambda = 1), to see what POIs teach
    smoke        a few regions and steps, for tests
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """The toy city, optionally in a variant."""
    variant = common.parse_variant(variant, ("image_only", "smoke"))
    if variant == "smoke":
        return _smoke(_city("toy_city_smoke", size_regions=(8, 8)))
    c = _city("toy_city", size_regions=(40, 40))
    if variant == "image_only":
        c.workdir = "runs/toy_city_image_only"
        c.loss.image_weight = 1.0
    return c


def _city(name: str, size_regions: tuple[int, int]) -> ConfigDict:
    c = common.base(name, crs="EPSG:32651")
    raw = f"data/{name}/raw"
    c.toy_city = dict(
        out_dir=raw,
        seed=0,
        size_regions=size_regions,
        region_size_m=128.0,
        gsd_m=2.0,
    )
    c.imagery.paths = (f"{raw}/imagery.tif",)
    c.pois.path = f"{raw}/pois.parquet"
    c.pois.crs = "EPSG:4326"
    c.pois.parent_column = "parent"
    made = dict(year=2026, source="generated", licence="CC0-1.0")
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
    c.data.batch_size = 64  # few regions: more, smaller steps
    c.model.image_encoder = dict(name="resnet_small", width=24)
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


def _smoke(c: ConfigDict) -> ConfigDict:
    c.blocks.size_m = 256.0
    c.data.batch_size = 16
    c.model.image_encoder.width = 8
    c.train.total = "2 epochs"
    c.train.log_every = "1 steps"
    return c
