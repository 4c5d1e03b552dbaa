"""The settings every city's config starts from; helpers for labels and recipes.

A config starts from `base()` and changes what differs. A section is a dataclass beside
the code that reads it, which says what its settings mean, their types and defaults;
docs/settings.md lists them all. A wrong key, type or choice is refused at its line.

Durations are strings: "120 epochs", "500 steps", "1e6 examples" or "10 percent".
"""

from ml_collections import ConfigDict

from configs.labels import (
    FUNCTION_CLASSES,
    class_label,
    count_label,
    density_label,
    scalar_label,
    share_label,
)
from configs.recipes import (
    RECIPES,
    apply,
    gpu,
    image_only,
    laptop,
    large_batch,
    nadir,
    paper,
    parse_variant,
    parse_variants,
    pod,
    recommended,
    released,
    run_local,
    with_size,
)
from data_prep.category_embedding.settings import CategoryVectorSettings
from data_prep.imagery.settings import ImagerySettings
from data_prep.pois.settings import PoiSettings
from data_prep.records.settings import RecordSettings
from data_prep.regions.settings import RegionSettings
from data_prep.settings import CitySettings
from data_prep.splits.settings import BlockSettings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.devices.settings import (
    DistributedSettings,
    MeshSettings,
    ShardingSettings,
)
from mmgr_jax.evaluation.settings import EmbedSettings, EvalSettings, ReadoutSettings
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.parts import Part, seal, section
from mmgr_jax.run_settings import RunSettings
from mmgr_jax.store.settings import InitSettings
from mmgr_jax.train.settings import OptimSettings, TrainSettings

__all__ = [
    "FUNCTION_CLASSES",
    "RECIPES",
    "apply",
    "base",
    "class_label",
    "count_label",
    "density_label",
    "gpu",
    "image_only",
    "laptop",
    "large_batch",
    "nadir",
    "paper",
    "paper_city",
    "parse_variant",
    "parse_variants",
    "pod",
    "recommended",
    "released",
    "run_local",
    "scalar_label",
    "share_label",
    "with_size",
]


def base(name: str, crs: str) -> ConfigDict:
    """The settings of the paper for one city.

    Args:
        name: Short name of the study area; names its folders and shards.
        crs: Metric CRS of regions, tiles and offsets, such as "EPSG:32651".
    """
    c = section(RunSettings(workdir=f"runs/{name}"))

    # ---- data preparation (data_prep.build) ----
    c.city = section(CitySettings(name, crs))
    c.toy_city = None  # section(ToyCitySettings(...)), when the raw files are absent
    c.released_sample = None  # section(ReleasedSettings(...)), in place of the rest
    c.imagery = section(ImagerySettings())
    c.pois = section(PoiSettings())
    c.labels = Part()  # name -> share_label, count_label, ... below
    c.regions = section(RegionSettings())
    c.blocks = section(BlockSettings())
    c.records = section(RecordSettings(dir=f"data/{name}/records"))
    c.category_vectors = section(CategoryVectorSettings())

    # ---- pre-training (mmgr_jax.main) ----
    c.data = section(DataSettings())
    c.corpus = section(CorpusSettings())
    c.augment = section(AugmentSettings())
    c.model = section(ModelSettings())
    c.init = section(InitSettings())
    c.loss = section(LossSettings())
    c.optim = section(OptimSettings())
    c.train = section(TrainSettings())
    c.mesh = section(MeshSettings())
    c.sharding = section(ShardingSettings())
    c.distributed = section(DistributedSettings())

    # ---- evaluation and maps (mmgr_jax.eval, mmgr_jax.embed) ----
    c.readout = section(ReadoutSettings())
    c.eval = section(EvalSettings())
    c.embed = section(EmbedSettings())
    return seal(c, may_come=("ablation", "transfer"))


def paper_city(name: str, crs: str, variant: str | None) -> ConfigDict:
    """A city of the paper; the user brings the sources under `data/<name>/raw`.

    Args:
        name: Short name of the city.
        crs: Its metric CRS.
        variant: Keys of `RECIPES`, separated by commas; None for "paper".
    """
    return apply(_paper_sources(name, crs), parse_variants(variant, RECIPES), RECIPES)


def _paper_sources(name: str, crs: str) -> ConfigDict:
    c = base(name, crs)
    raw = f"data/{name}/raw"
    c.imagery.paths = (f"{raw}/imagery/*.tif",)
    c.pois.path = f"{raw}/pois.csv"
    c.pois.crs = "EPSG:4326"
    c.pois.datum = "gcj02"  # AMap
    c.pois.parent_column = "parent"
    c.pois.x_column = "lon"
    c.pois.y_column = "lat"
    c.labels.function = share_label(
        f"{raw}/functional_zones.gpkg", column="zone", year=2020, source="user"
    )
    c.labels.population = count_label(
        f"{raw}/population.tif", unit="persons", year=2020, source="WorldPop"
    )
    c.labels.gdp = count_label(
        f"{raw}/gdp.tif", unit="million CNY", year=2020, source="user"
    )
    return c
