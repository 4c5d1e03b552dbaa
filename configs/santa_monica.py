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
    osm_pois_2019.csv, osm_categories.csv
                      for the variant osm_pois alone: see configs/socal.py

then run (three minutes on two cores)

    python -m data_prep.validate --config=configs/santa_monica.py
    python -m mmgr_jax.main --config=configs/santa_monica.py

This shows the whole path on files that were not made for it. It cannot show how good
the method is: 92 scattered regions are two steps an epoch, a head learns from some 45
labels, half of the POIs are bus stops, and the sources are of 2020, 2014 and 2010. The
table it prints is to be read with the mean and the random encoder beside it.

Variants, beside those of configs/shanghai.py:
    image_only   the intra-modal loss alone (lambda = 1), to see what POIs teach
    osm_pois     points of OpenStreetMap (356 within 150 m of a chip: restaurants,
                 dentists, bicycles for hire) in place of the city's, under the list
                 of categories of configs/socal.py
"""

from ml_collections import ConfigDict

from configs import common, socal

RAW = "data/santa_monica/raw"

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
    """Santa Monica, optionally in variants."""
    names = common.parse_variants(variant, VARIANTS)
    c = _sources()
    socal.train_on_few_tiles(c, recommended="paper" not in names)
    c.data.batch_size = 46  # two steps an epoch
    return common.apply(c, names, VARIANTS)


def image_only(c: ConfigDict) -> None:
    """The intra-modal loss alone."""
    c.workdir += "_image_only"
    c.loss.image_weight = 1.0


def osm_pois(c: ConfigDict) -> None:
    """Points of OpenStreetMap in place of the city's."""
    c.workdir += "_osm_pois"
    c.records.dir += "_osm_pois"
    socal.osm_pois(c, RAW)


VARIANTS = common.RECIPES | {"image_only": image_only, "osm_pois": osm_pois}


def _sources() -> ConfigDict:
    c = common.base("santa_monica", crs="EPSG:26911")  # UTM 11N on NAD83, as the chips
    socal.chips(c, RAW)
    c.pois.path = f"{RAW}/pois.geojson"
    c.pois.source = "City of Santa Monica, github.com/stiles/locations"
    c.pois.licence = "MIT in part"  # what the city asks for is not said
    c.regions.poi_buffer_m = 150.0  # few points lie inside a chip
    c.labels.function = common.share_label(
        f"{RAW}/landuse.geojson",
        column="LANDUSE",
        mapping=FUNCTION_OF_LAND_USE,
        classes=CLASSES,
        uncovered="ignore",  # streets, beach, sea: shares are of the parcels
        year=2014,
        source="City of Santa Monica",
    )
    c.labels.population = common.count_label(
        f"{RAW}/census2010_blocks_population.geojson",
        column="pop2010",
        unit="persons",
        year=2010,
        source="US Census through City of Santa Monica",
        licence="public domain",
    )
    c.blocks.size_m = 1000.0  # regions up to some 600 m apart have similar labels
    c.blocks.buffer_m = 300.0  # nearer regions share POIs
    return c
