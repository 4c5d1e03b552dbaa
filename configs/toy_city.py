"""A generated city with known truth: the whole path in minutes on a laptop.

Variants:
    image_only   the intra-modal loss alone (lambda = 1), to see what POIs teach
    smoke        a few regions and steps, for tests
"""

from ml_collections import ConfigDict

from configs import common

RAW = "data/toy_city/raw"


def get_config(variant: str | None = None) -> ConfigDict:
    """The toy city, optionally in a variant."""
    variant = common.parse_variant(variant, ("image_only", "smoke"))
    c = common.base("toy_city", crs="EPSG:32651")
    c.toy_city = dict(
        out_dir=RAW, seed=0, size_regions=(40, 40), region_size_m=128.0, gsd_m=2.0
    )
    c.imagery.paths = (f"{RAW}/imagery.tif",)
    c.pois.path = f"{RAW}/pois.parquet"
    c.pois.crs = "EPSG:4326"
    c.pois.parent_column = "parent"
    generated = dict(year=2026, source="generated")
    c.labels.function = common.share_label(
        f"{RAW}/zones.gpkg", column="zone", **generated
    )
    c.labels.population = common.count_label(
        f"{RAW}/population.tif", unit="persons", **generated
    )
    c.labels.gdp = common.count_label(
        f"{RAW}/gdp.tif", unit="million CNY", **generated
    )
    c.regions.tile_size_px = 64
    c.regions.gsd_m = 2.0
    c.blocks.size_m = 768.0
    c.records.num_shards = 4

    c.augment.size_px = 64
    c.augment.vertical_flip = True
    c.augment.quarter_turns = True
    c.model.image_encoder = dict(name="resnet_small", width=32)
    c.model.poi_encoder.vectors = "tuned"
    c.optim.learning_rate = 1e-3
    c.optim.schedule = "cosine"
    c.optim.warmup = "2 epochs"
    c.train.total = "30 epochs"

    if variant == "image_only":
        c.workdir = "runs/toy_city_image_only"
        c.loss.image_weight = 1.0
    if variant == "smoke":
        c.workdir = "runs/toy_city_smoke"
        c.records.dir = "data/toy_city_smoke/records"
        c.toy_city.size_regions = (8, 8)
        c.data.batch_size = 16
        c.model.image_encoder.width = 8
        c.train.total = "2 epochs"
        c.train.log_every = "1 steps"
    return c
