"""My city: every path, column and unit that is yours to decide, in one file.

Let the files answer what they can, and answer the rest where it says `ASK`:

    python -m mmgr_jax.init --name=oulu --imagery="data/oulu/raw/imagery/*.tif" \
        --pois=data/oulu/raw/pois.csv --labels=data/oulu/raw/population.tif

or copy this file and edit it. Then

    python -m mmgr_jax.main --config=configs/my_city.py --dry_run   # what is wrong
    python -m mmgr_jax.main --config=configs/my_city.py             # the first map

Sized for a laptop: two cores, 8 GB, no GPU. The toy city, 1,600 regions of the same
tiles and epochs, takes four minutes there; `--dry_run` measures what yours takes.
Variants for other machines, and those of configs/recipes.py, by commas:

    laptop   64 px tiles, a small encoder, 24 epochs; the default (`MACHINE`)
    gpu      one GPU with 24 GB: ResNet-50, 224 px, 256 regions a step, 120 epochs
    pod      several accelerators: the same with 4,096 regions a step
    paper    the paper's setting: 128 regions a step, 120 epochs; a GPU, too

Every other setting: docs/settings.md. What the data must be: docs/your_own_city.md.
"""

from ml_collections import ConfigDict

from configs import common

NAME = "my_city"  # letters, digits and _; names the folders of records and runs
CRS = "EPSG:32635"  # a projected CRS in metres made for the place, such as its UTM zone
RAW = f"data/{NAME}/raw"  # where the files below lie
MACHINE = "laptop"  # or "gpu", "pod": the variant where none says for what machine
LARGEST_BATCH = 4096  # regions a step at most; an eighth of all is plenty


def get_config(variant: str | None = None) -> ConfigDict:
    """My city for this machine, or in variants."""
    names = common.parse_variants(variant, VARIANTS)
    c = common.apply(_sources(), common.with_size(names, MACHINE), VARIANTS)
    c.data.batch_size = min(c.data.batch_size, LARGEST_BATCH)
    return c if c.pois.path else common.image_only(c)


def _sources() -> ConfigDict:
    c = common.base(NAME, crs=CRS)

    # ---- imagery: files with a CRS, read as one image ----
    c.imagery.paths = (f"{RAW}/imagery/*.tif",)  # files or patterns
    c.imagery.bands = (1, 2, 3)  # red, green and blue, counted from 1; grey: (1, 1, 1)
    c.imagery.stretch = None  # 8 bits; deeper: ("percentile", 2, 98)
    c.imagery.nodata = None  # what missing pixels hold where the files do not say
    c.imagery.ignore = ()  # ("alpha",): the fourth band is near infrared, not alpha
    c.imagery.source = ""  # who made it; goes with every model and map
    c.imagery.licence = ""  # under what terms
    c.imagery.year = None  # when it was taken

    # ---- points of interest: one place a row; path None: train on images alone ----
    c.pois.path = f"{RAW}/pois.csv"  # a table, .osm.pbf, or an extract of Overture
    c.pois.format = None  # "overture", or "osm" for tables with a column a tag
    c.pois.crs = "EPSG:4326"  # of the coordinates; None: the file says it
    c.pois.datum = "wgs84"  # "gcj02" from AMap and Tencent, "bd09" from Baidu
    c.pois.x_column = "lon"  # longitude or easting; None: the file has geometries
    c.pois.y_column = "lat"  # latitude or northing
    c.pois.category_column = "category"  # what kind of place it is
    c.pois.parent_column = None  # the coarser kind above it, if a column says so
    c.pois.name_column = "name"  # tells duplicates from neighbours; may be absent
    c.pois.encoding = None  # of a CSV that is not UTF-8, such as "gb18030"
    c.pois.separator = None  # of a CSV without commas, such as ";"
    c.pois.decimal = "."  # or ",", in coordinates written as text
    c.pois.source = ""
    c.pois.licence = ""
    c.pois.year = None

    # ---- regions: squares of ground, each with a tile, POIs and labels ----
    c.regions.kind = "grid"  # or "h3", "polygons", "chips" (every file is a region)
    c.regions.tile_size_px = 224  # of the full size; a laptop takes 64 px of the same
    c.regions.gsd_m = 1.0  # metres a pixel: 224 px show 224 m
    c.regions.poi_buffer_m = 0.0  # POIs this far outside still count

    # ---- labels: what is known of some regions; none: a map of clusters ----
    c.labels.population = common.count_label(  # summed over each region
        f"{RAW}/population.tif",
        unit="persons",
        nodata="unknown",  # "zero": nobody lives where pixels are missing
        year=2020,
        source="",
        licence="",
    )
    c.labels.land_use = common.share_label(  # shares of each region's area
        f"{RAW}/land_use.gpkg",
        column="class",
        classes=("residential", "commercial", "industrial", "green"),
        mapping={},  # {what the file says: the class that is meant, or None}
        year=2020,
        source="",
        licence="",
    )

    # ---- blocks: squares of regions that are tested together ----
    c.blocks.size_m = 1000.0  # as far as neighbours resemble each other, or "auto"
    c.blocks.num_folds = 5  # at least so many blocks; better four times
    return c


def laptop(c: ConfigDict) -> None:
    """What suits two cores, 8 GB and no GPU."""
    common.laptop(c)
    c.train.total = "24 epochs"  # the more the fewer regions


VARIANTS = common.RECIPES | {"laptop": laptop}
