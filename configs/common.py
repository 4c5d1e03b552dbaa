"""Every setting with its default, and the parser of `FILE.py:variant` arguments.

A city's config starts from `base()` and changes what differs. Each section holds the
keyword arguments of one function, named beside it, so that a key nobody reads fails
at once; what the arguments mean stands in that function's docstring.

Durations are strings: "120 epochs", "500 steps", "1e6 examples" or "10 percent".
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from data_prep.category_embedding.settings import CategoryVectorSettings
from data_prep.imagery.settings import ImagerySettings
from data_prep.labels.settings import LabelKind, LabelSettings
from data_prep.pois.settings import PoiSettings
from data_prep.records.settings import RecordSettings
from data_prep.regions.settings import RegionSettings
from data_prep.settings import CitySettings
from data_prep.splits.settings import BlockSettings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.devices.settings import (
    DistributedSettings,
    MeshSettings,
    ShardingSettings,
)
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.settings import section
from mmgr_jax.store.settings import InitSettings
from mmgr_jax.train.settings import OptimSettings, TrainSettings

FUNCTION_CLASSES = (
    "forest",
    "water",
    "unutilised",
    "transportation",
    "green_space",
    "industrial",
    "educational_governmental",
    "commercial",
    "residential",
    "agricultural",
)
"""The urban functions of Bai et al. (2023) and its sibling papers."""


def base(name: str, crs: str) -> ConfigDict:
    """The settings of the paper for one city.

    Args:
        name: Short name of the study area; names its folders and shards.
        crs: Metric CRS of regions, tiles and offsets, such as "EPSG:32651".
    """
    c = ConfigDict()
    c.seed = 0  # of initial parameters, order of regions and views
    c.workdir = f"runs/{name}"  # checkpoints, logs, results
    c.checkpoint = placeholder(str)  # what eval and embed load; None: the workdir's
    c.after_training = ("eval", "embed")  # what `main` runs at the end
    c.compilation_cache = "auto"  # compilation.use_cache; or "off", or a folder
    c.cpu_devices = 1  # distributed.use_cpu_devices; small networks gain by one a core
    c.profile = placeholder(str)  # steps to trace, such as "10:20"; see docs/input.md

    # ---- data preparation (data_prep.build) ----
    c.city = section(CitySettings(name, crs))
    c.toy_city = None  # section(ToyCitySettings(...)), when the raw files are absent
    c.released = None  # section(ReleasedSettings(...)), in place of the rest
    c.imagery = section(ImagerySettings())
    c.pois = section(PoiSettings())
    c.labels = ConfigDict()  # name -> share_label, count_label, ... below
    c.regions = section(RegionSettings())
    c.blocks = section(BlockSettings())
    c.records = section(RecordSettings(dir=f"data/{name}/records"))
    c.category_vectors = section(CategoryVectorSettings())

    # ---- pre-training (mmgr_jax.main) ----
    c.data = section(DataSettings())
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
    c.readout = dict(  # feature_sets.extract: what heads and maps are given
        image="pooled",  # or "stages": mean and deviation of every stage's map
        surroundings_m=(),  # radii of rings of neighbours, such as (200.0,)
        groups="columns",  # or "alike": each group of features weighs the same
    )
    c.eval = dict(  # evaluation.trials.tasks.evaluate, feature_sets.gather
        features=("image", "poi", "both"),  # feature_sets.KINDS
        protocols=("linear", "knn"),  # or "mlp", "released", "finetune"; first: quoted
        baselines=(  # of evaluation.features.baselines.BASELINES
            "random encoder",
            "image statistics",
            "poi counts",
            "statistics and counts",
            "poi tf-idf",
            "coordinates",
            "neighbour average",
            "mean",
        ),
        checkpoints=(),  # pairs (name, run or checkpoint) to put beside
        imported=placeholder(str),  # likewise: weights by mmgr_jax.convert
        tables=(),  # pairs (name, file of features by region id): likewise
        tasks=(),  # label names; (): every label of the manifest
        splits=("block", "random"),  # the first is the one to quote
        num_folds=placeholder(int),  # None: as the records have it (config.blocks)
        buffer_m=placeholder(float),  # likewise
        seed=0,  # another number deals the folds anew
        other_records=(),  # records of other cities: each is left out in turn
        strengths=(1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4),
        certainty=dict(  # evaluation.trials.scores.Certainty
            num_resamples=1000,  # of spatial blocks, for intervals; 0: no intervals
            level=0.95,
            coverage_levels=(0.5, 0.8, 0.9),  # of conformal intervals
        ),
        curves=dict(  # evaluation.trials.curves.Options
            methods=(  # whose label-efficiency curves; (): none
                "MMGR both",
                "MMGR image",
                "statistics and counts",
            ),
            num_labels=(5, 10, 25, 50, 100),  # in all, those that choose included
            num_draws=10,  # random choices of so many labels; above 25, half as many
            fractions=(),  # or parts of all labels, such as (0.1, 0.5, 1.0)
            num_seeds=3,  # random choices of each part
        ),
        finetune=dict(  # evaluation.heads.finetune.finetune
            learning_rate=1e-3,  # of the head
            layer_decay=0.7,  # factor from one layer to the one below it
            batch_size=32,
            max_epochs=30,
            patience=5,  # epochs without a better validation loss
        ),
    )
    c.embed = dict(  # mmgr_jax.embed
        features="image",  # what the mapped predictions come from
        heads=placeholder(str),  # of another run's eval/heads; None: the workdir's
        dpi=150,
    )
    return c


def paper_city(name: str, crs: str, variant: str | None) -> ConfigDict:
    """A city of the paper; the user brings the sources under `data/<name>/raw`.

    Args:
        name: Short name of the city.
        crs: Its metric CRS.
        variant: A key of `RECIPES`, None for "paper".
    """
    recipe = RECIPES[parse_variant(variant, tuple(RECIPES)) or "paper"]
    return recipe(_paper_sources(name, crs))


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


def released(c: ConfigDict) -> ConfigDict:
    """Every habit of the released program that changes numbers.

    BatchNorm statistics are those of each view, as in `paper`; beyond it the learning
    rate slips back after one epoch, the regions of a short batch wait for another
    epoch, and empty POI sets answer one constant and repel each other. What stays out:
    its pairing of wrong rows on several devices, and the row it loses when the last
    region of a batch has no POI.
    """
    c.workdir += "_released"
    c.optim.schedule = "step_slipping"
    c.data.short_batch = "drop"
    c.model.poi_encoder.empty = "constant"
    c.loss.empty_sets = "repel"
    return c


def large_batch(c: ConfigDict) -> ConfigDict:
    """Thousands of regions a step, on an accelerator or many.

    Both views meet the POIs, and BatchNorm sees both in one pass, each device its own
    rows of them; AdamW with warm-up and cosine, its rate for 256 regions grown with
    the square root of the batch (LARS: `--config.optim.name=lars
    --config.optim.learning_rate=0.3 --config.optim.batch_scaling=linear
    --config.optim.weight_decay=1e-6`); a learnt temperature; bfloat16; and, since no
    direction is up from above, flips and turns.
    """
    c.workdir += "_large_batch"
    c.data.batch_size = 4096
    c.model.batch_statistics = "joint"
    c.model.batch_norm = "local"
    c.model.learn_temperature = True
    c.model.dtype = "bfloat16"
    c.loss.symmetric = True
    c.loss.temperature = 0.2
    c.loss.matmul_dtype = "bfloat16"
    c.train.gradient_dtype = "bfloat16"
    c.augment.vertical_flip = True
    c.augment.quarter_turns = True
    c.optim.name = "adamw"
    c.optim.learning_rate = 5e-4
    c.optim.batch_scaling = "sqrt"
    c.optim.schedule = "cosine"
    c.optim.warmup = "10 epochs"
    c.optim.weight_decay = 0.05
    return c


def run_local(c: ConfigDict) -> ConfigDict:
    """Shrinks a city to a laptop: 64 px tiles of the same ground, a small encoder."""
    shrink = 64 / c.regions.tile_size_px
    c.workdir += "_runlocal"
    c.records.dir += "_runlocal"
    c.regions.gsd_m = c.regions.gsd_m / shrink
    c.regions.tile_size_px = 64
    c.regions.max_regions = 1000
    c.augment.size_px = 64
    c.data.batch_size = 64
    c.model.image_encoder = dict(name="resnet_small", width=32)
    c.optim.learning_rate = 1e-3
    c.optim.decay_at = ("8 epochs",)
    c.train.total = "10 epochs"
    return c


def nadir(c: ConfigDict) -> ConfigDict:
    """Views for imagery from straight above.

    No direction is up, so views are flipped and turned. Colour says what covers the
    ground and is changed a little, as it varies between flights; imagery of one flight
    wants no change at all (`augment.jitter_probability=0.0`). A crop keeps at least
    half of the tile, since what a region is like is a matter of how much there is of
    what.
    """
    c.augment.crop_area = (0.5, 1.0)
    c.augment.brightness = 0.2
    c.augment.contrast = 0.2
    c.augment.saturation = 0.2
    c.augment.hue = 0.02
    c.augment.grey_probability = 0.0
    c.augment.vertical_flip = True
    c.augment.quarter_turns = True
    return c


def recommended(c: ConfigDict) -> ConfigDict:
    """What won on cities that it was not chosen on: docs/representation.md.

    Views for imagery from above (`nadir`), POI encoders that count, both views beside
    the POIs, and heads that read every stage, the POIs and, on a grid, the regions
    around.
    """
    nadir(c)
    c.model.poi_encoder.counts = True
    c.loss.symmetric = True
    c.loss.temperature = 0.2
    c.readout.image = "stages"
    c.readout.groups = "alike"
    if c.regions.kind == "grid":  # the eight regions around each
        c.readout.surroundings_m = (1.6 * c.regions.tile_size_px * c.regions.gsd_m,)
    c.eval.features = ("image", "poi", "both", "all")
    c.embed.features = "both"
    return c


def paper(c: ConfigDict) -> ConfigDict:
    """The method as Bai et al. (2023) mean it: what `base` holds."""
    return c


RECIPES = {
    "paper": paper,
    "recommended": recommended,
    "released": released,
    "large_batch": large_batch,
    "runlocal": run_local,
}


def count_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Totals, summed over each region: a raster of counts per pixel.

    With `column`, polygons with a count each; with `id_column` too, a table of regions.

    Args:
        path: The file.
        unit: Unit of the sum, such as "persons".
        **given: More of `LabelSettings`, such as year and source.
    """
    return _label("count", path, unit=unit, **given)


def density_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Amounts per area such as "persons/km2", averaged over each region."""
    return _label("density", path, unit=unit, **given)


def scalar_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Any other number, averaged over each region by area."""
    return _label("scalar", path, unit=unit, **given)


def share_label(
    path: str, *, mapping: Mapping[Any, str | None] = MappingProxyType({}), **given: Any
) -> ConfigDict:
    """Polygons of functional zones, taken as area shares of each region.

    Args:
        path: The file.
        mapping: What the file says -> the class that is meant; None leaves it out.
        **given: More of `LabelSettings`: `column` or `id_column`; the
            `classes` where they are not the urban functions.
    """
    return _label(
        "share",
        path,
        **(dict(classes=FUNCTION_CLASSES, unit="1") | given),
        mapping=_pairs(mapping),
    )


def class_label(
    path: str,
    *,
    classes: Sequence[str],
    mapping: Mapping[Any, str | None] = MappingProxyType({}),
    **given: Any,
) -> ConfigDict:
    """The one class of each region: that of most of its land, or a table's.

    Args:
        path: Polygons whose `column` says the class, or a table with `id_column` and
            `column`.
        classes: Their names.
        mapping: What the file says -> the class that is meant; None leaves it out.
        **given: More of `LabelSettings`.
    """
    return _label(
        "class", path, classes=tuple(classes), mapping=_pairs(mapping), **given
    )


def _pairs(
    mapping: Mapping[Any, str | None],
) -> tuple[tuple[str, str | None], ...]:
    """The mapping as pairs: a name with a full stop cannot be a key of a config."""
    return tuple((str(said), meant) for said, meant in mapping.items())


def _label(kind: LabelKind, path: str, **given: Any) -> ConfigDict:
    """A label's settings, all of them, so that each can be overridden by its key."""
    return section(LabelSettings(kind=kind, path=path, **given))


def parse_variant(argument: str | None, allowed: tuple[str, ...]) -> str:
    """The variant behind `FILE.py:variant`, "" when there is none.

    Raises:
        ValueError: If the variant is not one of `allowed`.
    """
    variant = argument or ""
    if variant and variant not in allowed:
        raise ValueError(
            f"variant {variant!r} is unknown; allowed: {', '.join(allowed)} or none"
        )
    return variant
