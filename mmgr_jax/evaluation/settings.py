"""The sections `readout`, `eval` and `embed` of a config."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section

Kind = Literal["image", "poi", "both", "all", "image_projection", "poi_projection"]
"""What heads may be given; `feature_sets.KINDS` says what stands in each."""

Protocol = Literal["linear", "mlp", "released", "knn", "finetune"]
SplitKind = Literal["block", "random"]
Baseline = Literal[
    "mean",
    "coordinates",
    "neighbour average",
    "poi counts",
    "poi tf-idf",
    "image statistics",
    "statistics and counts",
    "random encoder",
]
Strength = Annotated[float, at.Gt(0)]


@dataclasses.dataclass(frozen=True)
class ReadoutSettings(Section):
    """What heads and maps are given of a region.

    Attributes:
        image: What is read of images: "pooled" is the feature of the paper, "stages"
            mean and deviation of every stage's map.
        surroundings_m: Outer radii of rings of neighbours, growing, in metres, such as
            (200.0,). Their mean features are added to those of the region; () for none.
        groups: Whether heads penalise every column alike ("columns"), or every group of
            features ("alike").
    """

    image: Literal["pooled", "stages"] = "pooled"
    surroundings_m: tuple[float, ...] = ()
    groups: Literal["columns", "alike"] = "columns"


@dataclasses.dataclass(frozen=True)
class CertaintySettings(Section):
    """Intervals of an evaluation.

    Attributes:
        num_resamples: Number of resamples of spatial blocks for intervals; 0: no
            intervals.
        level: Of the intervals, such as 0.95.
    """

    num_resamples: Annotated[int, at.Ge(0)] = 1000
    level: Annotated[float, at.Gt(0), at.Lt(1)] = 0.95


@dataclasses.dataclass(frozen=True)
class CurveSettings(Section):
    """Label-efficiency curves, by the first protocol of an evaluation.

    Attributes:
        methods: Methods that get a label curve; (): none.
        num_labels: Numbers of labels, from 2: at least one to learn from and one to
            choose by.
        num_draws: Number of random choices for each number of labels up to 25; half as
            many above, because larger choices differ less and take longer.
        fractions: Parts of all labels, such as (0.1, 0.5, 1.0), instead of numbers or
            in addition.
        num_seeds: Number of random choices for each fraction.
    """

    methods: tuple[str, ...] = ("MMGR both", "MMGR image", "statistics and counts")
    num_labels: tuple[Annotated[int, at.Ge(2)], ...] = (5, 10, 25, 50, 100)
    num_draws: Annotated[int, at.Ge(1)] = 10
    fractions: tuple[Annotated[float, at.Gt(0), at.Le(1)], ...] = ()
    num_seeds: Annotated[int, at.Ge(1)] = 3


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(Section):
    """The protocol "finetune": the whole image encoder learns with a linear head.

    Attributes:
        learning_rate: Of the head; AdamW.
        batch_size: Regions a step. The regions left over wait for another epoch.
        max_epochs: Most epochs.
    """

    learning_rate: Annotated[float, at.Gt(0)] = 1e-3
    batch_size: Annotated[int, at.Ge(1)] = 32
    max_epochs: Annotated[int, at.Ge(1)] = 30


@dataclasses.dataclass(frozen=True)
class EvalSettings(Section):
    """What `mmgr_jax.eval` compares, and how.

    Attributes:
        features: Kinds of features of the checkpoint.
        protocols: Which heads learn on the features; quote the numbers of the first.
        baselines: Simple methods to compare with. Weights trained elsewhere come by
            `imported`.
        checkpoints: Pairs (name, run or checkpoint folder) to compare with.
        imported: A folder of weights by `mmgr_jax.convert` to compare with; None: none.
        tables: Pairs (name, file of features by region id) to compare with.
        tasks: Label names; (): every label of the records.
        splits: "block" keeps whole spatial blocks together. "random" ignores them, so
            neighbours of a tested region are in the training data, and scores are too
            good. Quote the first.
        num_folds: None: as in the records (`blocks.num_folds`).
        buffer_m: Under "block", regions within this distance of a tested one, in
            metres, neither train nor choose; None: as in the records
            (`blocks.buffer_m`).
        seed: Another number than 0 deals the folds anew.
        other_records: Records folders or addresses of other cities: each city is left
            out in turn.
        strengths: L2 strengths that "linear" chooses from.
        certainty: Intervals.
        curves: Label-efficiency curves.
        finetune: The protocol "finetune".
    """

    features: tuple[Kind, ...] = ("image", "poi", "both")
    protocols: Annotated[tuple[Protocol, ...], at.MinLen(1)] = ("linear", "knn")
    baselines: tuple[Baseline, ...] = (
        "random encoder",
        "image statistics",
        "poi counts",
        "statistics and counts",
        "poi tf-idf",
        "coordinates",
        "neighbour average",
        "mean",
    )
    checkpoints: tuple[tuple[str, str], ...] = ()
    imported: str | None = None
    tables: tuple[tuple[str, str], ...] = ()
    tasks: tuple[str, ...] = ()
    splits: Annotated[tuple[SplitKind, ...], at.MinLen(1)] = ("block", "random")
    num_folds: int | None = None
    buffer_m: Annotated[float, at.Ge(0)] | None = None
    seed: int = 0
    other_records: tuple[str, ...] = ()
    strengths: Annotated[tuple[Strength, ...], at.MinLen(1)] = (
        1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4,
    )  # fmt: skip
    certainty: CertaintySettings = CertaintySettings()
    curves: CurveSettings = CurveSettings()
    finetune: FinetuneSettings = FinetuneSettings()


@dataclasses.dataclass(frozen=True)
class EmbedSettings(Section):
    """What `mmgr_jax.embed` writes.

    Attributes:
        features: The kind of features that are written as embeddings.
        predict_from: The kind of features that predictions and maps come from; "best":
            for each label those of `eval.features` that predict it best, chosen by
            their scores on the other folds.
        heads: Folder `eval/heads` of another run; None: the workdir's.
        predictions: Whether heads predict and maps are drawn; False: only embeddings.
        dtype: How embeddings.parquet stores vectors. "int8" takes a quarter of the
            bytes; its header holds the scales, and the measured loss.
        formats: Further files of predictions for other programs: "gpkg" is a GeoPackage
            with styles for QGIS, "cog" a GeoTIFF of each label where regions are a
            grid, "pmtiles" vector tiles for web maps, "stac" a catalogue of the files,
            "projector" points and tiles for TensorBoard's projector.
    """

    features: Kind = "image"
    predict_from: Kind | Literal["best"] = "best"
    heads: str | None = None
    predictions: bool = True
    dtype: Literal["float32", "int8"] = "float32"
    formats: tuple[Literal["gpkg", "cog", "pmtiles", "stac", "projector"], ...] = ()
