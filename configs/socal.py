"""Riverside and Palm Springs, California: two real places from public files.

Name one: `configs/socal.py:riverside` or `configs/socal.py:palm_springs`, and behind it
variants of configs/shanghai.py, if any (`configs/socal.py:riverside,paper`). Put these
files, or links to them, under `data/riverside/raw` or `data/palm_springs/raw`:

    chips/*.tif       90 or 100 chips of NAIP 2020, 256 x 256 px at 0.6 m, EPSG:26911.
                      USDA NAIP (public domain), as cut by
                      github.com/jonathanventura/urban-tree-detection-data (CC BY 4.0)
    osm_pois_2019.csv 2,595 points around three Californian places, with fclass, lon
                      and lat: OpenStreetMap (ODbL), through
                      github.com/Liyue-Chen/STContext
    osm_categories.csv
                      the 133 classes of such points (category), each with a first
                      level (parent)
    population_cells.gpkg
                      POPULATION in persons, by the Thiessen cells of the centres of
                      2020 census block groups: US Census (public domain)

then run (three minutes on two cores)

    python -m data_prep.validate --config=configs/socal.py:riverside
    python -m mmgr_jax.main --config=configs/socal.py:riverside

With Santa Monica by its variant `osm_pois`, the three have one list of categories and
a population each, so that one place can be predicted by heads of the others
(`eval.other_records`).

They show that the path works on more places, and what a weak label does. They cannot
show how well anybody counts people: a cell is some 1 km2, forty times a chip, its
outline is a guess, and its people are spread evenly over it, so a park is as crowded
as the houses around it. By ridge regression on MobileNetV2, image statistics or POI
counts, every R2 was below 0 (docs/your_own_features.md). And 49 of Riverside's 90
regions and 52 of Palm Springs' 100 have no POI, even with those 300 m around.
"""

from ml_collections import ConfigDict

from configs import common
from mmgr_jax.errors import InputError

NUM_CHIPS = {"riverside": 90, "palm_springs": 100}


def get_config(variant: str | None = None) -> ConfigDict:
    """One of the places of `NUM_CHIPS`.

    Raises:
        InputError: If `variant` begins with none of them.
    """
    first, _, others = (variant or "").partition(",")
    place = common.parse_variant(first, tuple(NUM_CHIPS))
    if not place:
        raise InputError(
            "configs/socal.py has several places; name one, such as "
            f"--config=configs/socal.py:riverside; allowed: {', '.join(NUM_CHIPS)}."
        )
    names = common.parse_variants(others, common.RECIPES)
    c = common.base(place, crs="EPSG:26911")  # UTM 11N on NAD83, as the chips
    raw = f"data/{place}/raw"
    chips(c, raw)
    c.regions.poi_buffer_m = 300.0  # at 150 m two regions of three have no POI
    osm_pois(c, raw)
    c.labels.population = common.count_label(
        f"{raw}/population_cells.gpkg",
        column="POPULATION",
        unit="persons",
        year=2020,
        source="US Census, Thiessen cells of block-group centres",
        licence="public domain",
    )
    c.blocks.size_m = 2000.0  # population is alike up to 1.7 and 2.0 km
    c.blocks.buffer_m = 600.0  # nearer regions share POIs
    train_on_few_tiles(c, recommended="paper" not in names)
    c.data.batch_size = NUM_CHIPS[place] // 2  # two steps an epoch
    return common.apply(c, names, common.RECIPES)


def chips(c: ConfigDict, raw: str) -> None:
    """Regions that are the chips in a folder's `chips`."""
    c.imagery.paths = (f"{raw}/chips/*.tif",)
    c.imagery.source = "USDA NAIP, github.com/jonathanventura/urban-tree-detection-data"
    c.imagery.licence = "public domain, as cut CC BY 4.0"
    c.imagery.year = 2020
    c.regions.kind = "chips"
    c.regions.tile_size_px = 256
    c.regions.gsd_m = 0.6
    c.records.num_shards = 2


def osm_pois(c: ConfigDict, raw: str) -> None:
    """Points of OpenStreetMap under one list of categories, the same in every place."""
    c.pois.path = f"{raw}/osm_pois_2019.csv"
    c.pois.crs = "EPSG:4326"
    c.pois.category_column = "fclass"
    c.pois.x_column = "lon"
    c.pois.y_column = "lat"
    c.pois.categories.path = f"{raw}/osm_categories.csv"
    c.pois.source = "OpenStreetMap contributors, github.com/Liyue-Chen/STContext"
    c.pois.licence = "ODbL-1.0"
    c.pois.year = 2019


def train_on_few_tiles(c: ConfigDict, *, recommended: bool) -> None:
    """A small encoder and sixty epochs, for some hundred chips on a laptop."""
    if recommended:
        common.recommended(c)
    c.augment.size_px = 128  # 1.2 m a pixel at full crop, a quarter of the work
    c.model.image_encoder = dict(name="resnet_small", width=24)
    c.optim.learning_rate = 1e-3
    c.optim.schedule = "cosine"
    c.optim.warmup = "5 epochs"
    c.train.total = "60 epochs"
    c.train.log_every = "20 steps"
    c.train.save_every = "20 epochs"
