"""Santa Monica, California: a real city from public files, small enough for a laptop.

Put these files, or links to them, under `data/santa_monica/raw`:

    chips/*.tif       92 chips of NAIP 2020, 256 x 256 px at 0.6 m, EPSG:26911. USDA
                      NAIP (public domain), as cut by
                      github.com/jonathanventura/urban-tree-detection-data (CC BY 4.0)
    pois.geojson      944 points with name, category and source: stops, landmarks,
                      parks, schools and shops of github.com/CityofSantaMonica/GIS and
                      github.com/stiles/locations (MIT)
    census2010_blocks_population.geojson
                      1,467 census blocks, pop2010 in persons: US Census (public
                      domain), through github.com/CityofSantaMonica/GIS
    landuse.geojson   1,790 polygons, LANDUSE in 19 classes, streets left blank:
                      github.com/CityofSantaMonica/GIS (2014)

then run (three minutes on two cores)

    python -m data_prep.validate --config=configs/santa_monica.py
    python -m mmgr_jax.main --config=configs/santa_monica.py

This shows the whole path on files that were not made for it. It cannot show how good
the method is: 92 scattered regions are two steps an epoch, a head learns from some 45
labels, half of the POIs are bus stops, and the sources are of 2020, 2014 and 2010. The
table it prints is to be read with the mean and the random encoder beside it.

Variants:
    image_only   the intra-modal loss alone (lambda = 1), to see what POIs teach
"""

from ml_collections import ConfigDict

from configs import common

FUNCTION_OF_LAND_USE = {
    "Low Density Housing": "residential",
    "Single Family Housing": "residential",
    "Medium Density Housing": "residential",
    "High Density Housing": "residential",
    "Mixed Use Boulevard Low": "commercial",
    "Mixed Use Boulevard": "commercial",
    "Mixed Use Creative": "commercial",
    "Health Care Mixed Use": "commercial",
    "Neighborhood Commercial": "commercial",
    "General Commercial": "commercial",
    "Downtown Core": "commercial",
    "Oceanfront District": "commercial",
    "Office Campus": "commercial",
    "Transit Village": "commercial",
    "Transit Corridor": "transportation",
    "Parks and Open Space": "green_space",
    "San Vicente Blvd Median": None,  # planted, but part of a street
    "Industrial Conservation": "industrial",
    "Institutional/Public Lands": "educational_governmental",
}
"""Land use of the city's plan -> urban function; None: land without a class."""

CLASSES = tuple(
    name
    for name in common.FUNCTION_CLASSES
    if name in FUNCTION_OF_LAND_USE.values()  # no forest, water or fields here
)


def get_config(variant: str | None = None) -> ConfigDict:
    """Santa Monica, optionally in a variant."""
    c = _sources()
    _train(c)
    if common.parse_variant(variant, ("image_only",)):
        c.workdir += "_image_only"
        c.loss.image_weight = 1.0
    return c


def _sources() -> ConfigDict:
    c = common.base("santa_monica", crs="EPSG:26911")  # UTM 11N on NAD83, as the chips
    raw = "data/santa_monica/raw"
    c.imagery.paths = (f"{raw}/chips/*.tif",)
    c.pois.path = f"{raw}/pois.geojson"
    c.regions.kind = "chips"
    c.regions.tile_size_px = 256
    c.regions.gsd_m = 0.6
    c.regions.poi_buffer_m = 150.0  # few points lie inside a chip
    c.labels.function = common.share_label(
        f"{raw}/landuse.geojson",
        column="LANDUSE",
        mapping=FUNCTION_OF_LAND_USE,
        classes=CLASSES,
        uncovered="ignore",  # streets, beach, sea: shares are of the parcels
        year=2014,
        source="City of Santa Monica",
    )
    c.labels.population = common.count_label(
        f"{raw}/census2010_blocks_population.geojson",
        column="pop2010",
        unit="persons",
        year=2010,
        source="US Census through City of Santa Monica",
        licence="public domain",
    )
    c.blocks.size_m = 1000.0  # labels resemble themselves for some 600 m
    c.blocks.buffer_m = 300.0  # nearer regions share POIs
    c.records.num_shards = 2
    return c


def _train(c: ConfigDict) -> None:
    c.augment.size_px = 128  # 1.2 m a pixel at full crop, a quarter of the work
    c.augment.vertical_flip = True  # from above, no direction is up
    c.augment.quarter_turns = True
    c.data.batch_size = 46  # two steps an epoch
    c.model.image_encoder = dict(name="resnet_small", width=24)
    c.loss.temperature = 0.2
    c.loss.symmetric = True
    c.optim.learning_rate = 1e-3
    c.optim.schedule = "cosine"
    c.optim.warmup = "5 epochs"
    c.train.total = "60 epochs"
    c.train.log_every = "20 steps"
    c.train.save_every = "20 epochs"
