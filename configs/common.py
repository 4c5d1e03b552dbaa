"""What every city's config starts from, with helpers for labels and recipes.

A config starts from `base()` and changes what differs. A section is a dataclass beside
the code that reads it, which says what its settings mean, their types and defaults;
docs/settings.md lists them all. A wrong key, type or choice is refused at its line.

Durations are strings: "120 epochs", "500 steps", "1e6 examples" or "10 percent".
"""

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

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
    large_batch,
    nadir,
    paper,
    parse_variant,
    parse_variants,
    recommended,
    released,
    run_local,
)
from mmgr_jax.evaluation.settings import EmbedSettings, EvalSettings, ReadoutSettings
from mmgr_jax.run_settings import RunSettings
from mmgr_jax.settings import seal, section

__all__ = [
    "FUNCTION_CLASSES",
    "RECIPES",
    "apply",
    "base",
    "class_label",
    "count_label",
    "density_label",
    "large_batch",
    "nadir",
    "paper",
    "paper_city",
    "parse_variant",
    "parse_variants",
    "recommended",
    "released",
    "run_local",
    "scalar_label",
    "share_label",
]


def base(name: str, crs: str) -> ConfigDict:
    """The settings of the paper for one city.

    Args:
        name: Short name of the study area; names its folders and shards.
        crs: Metric CRS of regions, tiles and offsets, such as "EPSG:32651".
    """
    c = section(RunSettings(workdir=f"runs/{name}"))

    # ---- data preparation (data_prep.build) ----
    c.city = dict(name=name, crs=crs)
    c.toy_city = None  # data_prep.toy_city.generate, when the raw files are absent
    c.released = None  # data_prep.import_released.sample.read, in place of the rest
    c.imagery = dict(  # data_prep.imagery.Imagery
        paths=(),  # GeoTIFF files, VRT mosaics or glob patterns
        bands=(1, 2, 3),  # red, green, blue; counted from 1
        nodata=placeholder(float),  # of missing pixels, where the files do not say
        stretch=placeholder(tuple),  # to 8 bits: ("linear", 0, 3000), see Imagery
        overlap="first",  # which file by path shows ground of several; or "last"
        ignore=(),  # what files say wrongly: "alpha", "colors"
        grid=placeholder(str),  # "xyz", "tms": files are tiles z/x/y of a web map
        folders=(),  # where mosaics may name files, beside the folders of `paths`
    )
    c.pois = dict(  # data_prep.pois.read
        path=placeholder(str),  # a table with or without geometries, or .osm.pbf
        format=placeholder(str),  # "overture"; None: as the file's name says
        layer=placeholder(str),  # GeoPackage only; None: its only one
        encoding=placeholder(str),  # of CSV and Shapefile, such as "gb18030"
        separator=placeholder(str),  # CSV only, such as ";"
        decimal=".",  # or ",", of numbers written as text
        crs=placeholder(str),  # of the coordinates; must agree with the file's own
        datum="wgs84",  # AMap and Tencent deliver "gcj02", Baidu "bd09"
        category_column="category",  # or a path such as "categories.primary"
        parent_column=placeholder(str),  # first-level category, where there is one
        name_column="name",  # with it duplicates are told from neighbours
        x_column=placeholder(str),  # CSV only: longitude or easting
        y_column=placeholder(str),  # CSV only: latitude or northing
        categories=dict(  # data_prep.pois.categories.shared_list
            path=placeholder(str),  # CSV of the list that cities share; None: no list
            names=(),  # the list itself, in place of a file
            parents=(),
            unknown=placeholder(str),  # takes other categories; None: left out
        ),
        osm=dict(  # data_prep.pois.sources.osm.load
            reader="gdal",  # or "quackosm", see requirements-osm.txt
            table=placeholder(str),  # CSV: tags -> categories; None: ours
        ),
    )
    c.labels = ConfigDict()  # name -> data_prep.labels.LabelSource
    c.regions = dict(  # data_prep.regions.cut
        kind="grid",  # or "h3", "polygons", "chips" (one region a file)
        tile_size_px=224,
        gsd_m=1.0,  # ground sampling distance of the tiles
        min_coverage=0.95,  # share of a region's pixels that must hold imagery
        max_blank_share=0.99,  # share of a tile that one colour may fill; 1.0: all
        poi_buffer_m=0.0,  # POIs this far outside a region still belong to it
        mask_outside=False,  # "h3", "polygons": black outside the region
        max_regions=placeholder(int),
        h3=dict(
            resolution=10,  # about 150 m across
            containment="overlap",  # or "center"
        ),
        polygons=dict(
            path=placeholder(str),  # GeoParquet, GeoPackage, GeoJSON or Shapefile
            layer=placeholder(str),  # GeoPackage only; None: its only one
            id_column=placeholder(str),  # None: a hash of the outline
            encoding=placeholder(str),  # of a Shapefile, such as "gb18030"
            fit="refuse",  # or "scale": a large polygon gets coarser pixels
        ),
    )
    c.blocks = dict(  # data_prep.splits.splits.assign
        size_m=FieldReference(2000.0, field_type=object),  # or "auto": by the labels
        num_folds=5,  # each is tested once
        buffer_m=0.0,  # regions this close to a tested one are left out of training
    )
    c.records = dict(  # data_prep.records
        dir=f"data/{name}/records",
        num_shards=8,
        image_format="png",  # or "webp", "jpeg", "raw": docs/input.md
        image_quality=placeholder(int),  # 1 to 100, of "jpeg" and "webp"
    )

    c.category_vectors = dict(  # data_prep.category_embedding
        method="skipgram",  # or "random", "onehot", "table", "text"
        dim=64,
        seed=0,
        out=placeholder(str),  # None: the records folder's own table
        walks=dict(
            per_poi=5,
            length=10,
            region_size_m=placeholder(float),
            region_factor=0.4,
            return_bias=1.0,
            outward_bias=1.0,
        ),
        skipgram=dict(
            num_negatives=5,
            negatives="absent",
            hierarchy_weight=0.01,  # relative to the skip-gram loss
            learning_rate=5e-3,
            num_steps=400,
        ),
        table=dict(path=placeholder(str), category_column="category", columns=()),
        text=dict(  # docs/text.md
            model="wordllama",  # or "sentence-transformers"
            folder=placeholder(str),  # of a model of sentence-transformers
            template="{name}, {parent}",
            template_alone="{name}",  # of categories without a parent
            phrases=placeholder(str),  # CSV of your own: category, phrase
            names_per_category=0,  # finer categories by names of POIs; 0: none
        ),
    )

    # ---- pre-training (mmgr_jax.main) ----
    c.data = dict(  # data.pipeline.training_batches
        batch_size=128,  # regions a step, over all devices
        max_pois=placeholder(int),  # POI slots a region; None: the fullest region
        num_threads=8,
        short_batch="fill",  # or "drop": the regions left over wait for another epoch
        cache_mib=1024,  # decoded tiles stay in memory when all of them fit
        device_resident="auto",  # or "on", "off": all tiles in the devices' memory
    )
    c.augment = dict(  # augment.two_views
        size_px=224,
        crop_area=(0.2, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        jitter_probability=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grey_probability=0.2,
        horizontal_flip=True,
        vertical_flip=False,
        quarter_turns=False,
    )
    c.model = dict(  # models.mmgr.build
        image_encoder=dict(  # train="none", "last:1", "decay:0.75": docs/towers.md
            name="resnet50"
        ),
        poi_encoder=dict(
            name="set2set",
            vectors="frozen",
            empty="learnt",
            counts=False,  # True: how many POIs there are is seen too
        ),
        projection_dim=128,
        batch_statistics="per_view",  # or "joint"
        batch_norm="global",  # or "local" (each device's rows), "group:k" devices
        learn_temperature=False,
        dtype="float32",
    )
    c.init = dict(  # warm_start.start_from
        checkpoint=placeholder(str),  # a run, or what `mmgr_jax.convert` wrote
        parts=(),  # of image_encoder, image_head, poi_encoder, poi_head; (): all it has
    )
    c.loss = dict(  # losses.mmgr_loss
        temperature=0.5,
        image_weight=0.5,  # lambda: weight of the intra-modal loss; 1 is image only
        symmetric=False,  # True: view 2 meets the POIs too
        empty_sets="excluded",  # or "repel"
        implementation="gathered",  # or "ring", "dense": equal results
        matmul_dtype="float32",  # or "bfloat16"
        tile=512,  # regions along a side of a tile of similarities
    )
    c.optim = dict(  # optim.build
        name="adam",  # or "adamw", "lars", "sgd"
        learning_rate=1e-2,
        schedule="step",  # or "step_slipping", "cosine", "constant"
        warmup="0 steps",
        decay_at=("90 epochs", "110 epochs"),  # for both kinds of steps
        decay_factor=0.1,
        weight_decay=0.0,  # "adamw" and "lars"
        batch_scaling="none",  # or "sqrt", "linear": the rate is one for 256 regions
    )
    c.train = dict(  # train.train
        total="120 epochs",
        microbatch_size=placeholder(int),  # regions encoded at a time; None: a batch
        gradient_dtype="float32",  # of sums over devices; or "bfloat16"
        log_every="20 steps",
        save_every="5 epochs",
        keep=2,  # newest checkpoints kept
    )
    c.mesh = dict(  # sharding.make_mesh
        data=-1,  # groups of devices; -1: all there are
        fsdp=1,  # devices of a group, which share one copy of the state
    )
    c.sharding = dict(  # sharding.lay_out
        rules=(("^(params|opt_state)/", "fsdp"),),  # found in a path -> or "whole"
        min_size=65_536,  # numbers; smaller arrays are whole on every device
    )
    c.distributed = dict(  # distributed.session
        mode="auto",  # joins on Cloud TPU, SLURM and Open MPI; or "on", "off"
        coordinator=placeholder(str),  # elsewhere: HOST:PORT of process 0,
        num_processes=placeholder(int),  # how many there are,
        process_id=placeholder(int),  # and which this is, from 0
        join_timeout_s=120.0,  # the others are waited for at the start
        heartbeat_timeout_s=100,  # after it a process that died unseen ends the others
    )

    # ---- evaluation and maps (mmgr_jax.eval, mmgr_jax.embed) ----
    c.readout = section(ReadoutSettings())
    c.eval = section(EvalSettings())
    c.embed = section(EmbedSettings())

    # Of plain parts, only labels and encoders take new keys: theirs hang on a name.
    for name, part in c.items():
        if name != "labels" and type(part) is ConfigDict:
            part.lock()
    c.model.image_encoder.unlock()
    c.model.poi_encoder.unlock()
    return seal(c, may_come=("ablation",))


def paper_city(name: str, crs: str, variant: str | None) -> ConfigDict:
    """A city of the paper; the user brings the sources under `data/<name>/raw`.

    Args:
        name: Short name of the city.
        crs: Its metric CRS.
        variant: Keys of `RECIPES` by commas; None for "paper".
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
