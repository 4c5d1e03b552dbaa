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
    """Which features of a region heads and maps use.

    Attributes:
        image: Which features of the image encoder. "pooled": the feature of the paper.
            "stages": mean and standard deviation of the feature map of every stage.
        surroundings_m: Outer radii of rings around the region, in metres and
            increasing, such as (200.0,). The mean features of the regions in each ring
            become further columns; (): no rings.
        groups: How the L2 penalty of heads is distributed. "columns": equally over all
            columns. "alike": equally over the groups of features, however many columns
            a group has.
    """

    image: Literal["pooled", "stages"] = "pooled"
    surroundings_m: tuple[float, ...] = ()
    groups: Literal["columns", "alike"] = "columns"


@dataclasses.dataclass(frozen=True)
class CertaintySettings(Section):
    """Confidence intervals of an evaluation.

    Attributes:
        num_resamples: Number of times that spatial blocks are resampled (block
            bootstrap); 0: no intervals.
        level: Confidence level of the intervals, such as 0.95.
    """

    num_resamples: Annotated[int, at.Ge(0)] = 1000
    level: Annotated[float, at.Gt(0), at.Lt(1)] = 0.95


@dataclasses.dataclass(frozen=True)
class CurveSettings(Section):
    """Label curves: scores with few labels, by the first protocol of `eval`.

    Attributes:
        methods: Methods that get a label curve; (): none.
        num_labels: Numbers of labels, from 2: at least one for training and one to
            choose the setting of the head.
        num_draws: How often labels are drawn at random for each number up to 25. Above
            25, half as often, because larger samples differ less and take longer.
        fractions: Fractions of all labels, such as (0.1, 0.5, 1.0), instead of numbers
            or in addition.
        num_seeds: How often labels are drawn at random for each fraction.
    """

    methods: tuple[str, ...] = ("MMGR both", "MMGR image", "statistics and counts")
    num_labels: tuple[Annotated[int, at.Ge(2)], ...] = (5, 10, 25, 50, 100)
    num_draws: Annotated[int, at.Ge(1)] = 10
    fractions: tuple[Annotated[float, at.Gt(0), at.Le(1)], ...] = ()
    num_seeds: Annotated[int, at.Ge(1)] = 3


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(Section):
    """The protocol "finetune": the whole image encoder is trained with a linear head.

    Attributes:
        learning_rate: Learning rate of the head; the optimiser is AdamW.
        batch_size: Regions in a batch. Regions that do not fill the last batch of an
            epoch are not shown in this epoch.
        max_epochs: Largest number of epochs.
    """

    learning_rate: Annotated[float, at.Gt(0)] = 1e-3
    batch_size: Annotated[int, at.Ge(1)] = 32
    max_epochs: Annotated[int, at.Ge(1)] = 30


@dataclasses.dataclass(frozen=True)
class EvalSettings(Section):
    """What `mmgr_jax.eval` compares, and how.

    Attributes:
        features: Kinds of features of the checkpoint; see docs/evaluation.md.
        protocols: Kinds of heads that are trained on the features; quote the numbers of
            the first.
        baselines: Simple methods to compare with.
        checkpoints: Other checkpoints to compare with: pairs (name, folder of a run or
            checkpoint).
        imported: Imported weights to compare with: a folder that `mmgr_jax.convert`
            wrote; None: none.
        tables: Features of your own to compare with: pairs (name, file with a row for
            each region id).
        tasks: Names of the labels to evaluate; (): every label of the records.
        splits: "block" keeps whole spatial blocks together. "random" ignores them, so
            neighbours of a tested region are in the training data, and scores are too
            good. Quote the first.
        num_folds: Number of folds; None: as in the records (`blocks.num_folds`).
        buffer_m: Under "block", regions within this distance of a tested one, in
            metres, are used neither for training nor for validation; None: as in the
            records (`blocks.buffer_m`).
        seed: 0: the folds of the records. Another number assigns blocks to folds in
            another way.
        other_records: Folders or addresses of the records of other cities. Each city in
            turn is tested with heads of the others.
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
        features: Kind of features that are written as embeddings.
        predict_from: Kind of features that heads and maps use. "best": for each label,
            the kind in `eval.features` that predicts it best, chosen by the scores on
            the other folds.
        heads: Folder `eval/heads` of another run; None: that of the workdir.
        predictions: Whether to predict labels and draw maps; False: only embeddings.
        dtype: Number type of the vectors in embeddings.parquet. "int8" takes a quarter
            of the bytes; the file's header holds the scales and the measured loss of
            precision.
        formats: Further files of predictions for other programs: "gpkg": a GeoPackage
            with styles for QGIS. "cog": a GeoTIFF for each label, if regions are a
            grid. "pmtiles": vector tiles for web maps. "stac": a catalogue of the
            files. "projector": points and tiles for TensorBoard's projector.
    """

    features: Kind = "image"
    predict_from: Kind | Literal["best"] = "best"
    heads: str | None = None
    predictions: bool = True
    dtype: Literal["float32", "int8"] = "float32"
    formats: tuple[Literal["gpkg", "cog", "pmtiles", "stac", "projector"], ...] = ()
