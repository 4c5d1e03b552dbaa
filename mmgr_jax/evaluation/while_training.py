"""Quality of features during training, by nearest neighbours on validation folds.

A loss can decrease although the features do not get better. No head is trained and no
tested region is used, so these scores may guide a run.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.source import RecordSource, RegionSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference, run
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.design import grid, splits, targets
from mmgr_jax.evaluation.features import features, groups
from mmgr_jax.evaluation.heads import knn
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.store import checkpoint
from mmgr_jax.typing import Tree

MOST_REGIONS = 1000
"""Largest number of regions that are used; of more, always the same ones are drawn."""

NEIGHBOURS = 10

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Evaluator:
    """Evaluates a model in training by its image and POI features.

    Attributes:
        config: Config of the run.
    """

    config: ConfigDict
    _prepared: _Prepared | None = None
    _gives_up: bool = False

    def __call__(self, source: RegionSource, variables: Tree) -> dict[str, float]:
        """Computes a score for every task of the records.

        Args:
            source: The records of the run. Of several cities, the city of the config is
                used.
            variables: `params` and `batch_stats`, complete, as NumPy arrays or on a
                device of this process.

        Returns:
            Scores by name, such as `population_r2_log`. Empty if the records have no
            labels or cannot be split; the latter is logged once.
        """
        if self._gives_up:
            return {}
        try:
            self._prepared = self._prepared or _prepared(self.config, source)
        except InputError as error:
            self._gives_up = True
            log.warning("features are not evaluated while training: %s", error)
            return {}
        return self._prepared.evaluate(variables) if self._prepared else {}


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What is the same at every evaluation of a run.

    Attributes:
        source: The records.
        chosen: The regions that are looked at, sorted [r].
        encoder: (variables) -> the encoder with them.
        targets: Task -> what is to be predicted of these regions.
        split: Their folds.
        options: Keywords of `features.extract`.
    """

    source: RecordSource
    chosen: np.ndarray
    encoder: Callable[[Tree], InferenceEncoder]
    targets: Mapping[str, targets.Target]
    split: splits.Split
    options: Mapping[str, Any]

    def evaluate(self, variables: Tree) -> dict[str, float]:
        encoder = self.encoder(variables)
        encoded = features.extract(
            encoder.encode,
            self.source,
            regions=self.chosen,
            edges=encoder.reads_edges,
            **self.options,
        )
        both = groups.beside([encoded["image"], encoded["poi"]])
        scores = {}
        for task, target in self.targets.items():
            name, score = _score(both.values, target, self.split)
            scores[f"{task}_{name}"] = score
        return scores


def _prepared(config: ConfigDict, source: RegionSource) -> _Prepared | None:
    """What is looked at; None where there are no labels.

    Raises:
        InputError: If the records cannot be split, or are not among those of the run.
    """
    trained_on = None
    if isinstance(source, Corpus):
        width = source.cities[0].category_vectors().shape[1]
        trained_on = checkpoint.Metadata({}, source.manifest.categories, width)
        city = source.city_in(config.records.dir)
        if city is None:
            raise InputError(
                f"config.records.dir={config.records.dir} is none of the cities of "
                "config.corpus.records"
            )
        source = city
    assert isinstance(source, RecordSource)
    if not source.manifest.labels:
        return None
    return _prepare(config, source, trained_on)


def _prepare(
    config: ConfigDict, source: RecordSource, trained_on: checkpoint.Metadata | None
) -> _Prepared:
    chosen = np.arange(len(source))
    if len(source) > MOST_REGIONS:
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.choice(len(source), MOST_REGIONS, replace=False))
    regions = features.read_regions(source, chosen)
    settings = run.read(config)
    given = run.choose_splits(settings, source, regions, settings.splits[:1])
    checked = {
        name: targets.check(name, label, values, len(chosen))
        for name, (label, values) in run.labelled(source, regions).items()
        if not settings.tasks or name in settings.tasks
    }
    return _Prepared(
        source,
        chosen,
        inference.for_training(config, source, trained_on),
        checked,
        next(iter(given.values())),
        dict(
            batch_size=min(config.data.batch_size, len(chosen)),
            num_threads=config.data.num_threads,
        ),
    )


def _score(
    values: Float[np.ndarray, "r f"], target: targets.Target, split: splits.Split
) -> tuple[str, float]:
    """Metric and value over all validation regions, each in its round."""
    cells = grid.cells(split, target.known, fractions=(1.0,))
    rows = cells.validation
    fits = knn.fit(values, target, cells.predicting(rows), counts=(NEIGHBOURS,))
    prediction = np.concatenate(fits.prediction)
    if target.is_number:
        truth = np.concatenate([target.values[row] for row in rows])
        name = "r2_log" if target.log else "r2"
        return name, metrics.scalar(truth, prediction)[name]
    truth = np.concatenate([target.shares()[row] for row in rows])
    if target.label.kind == "share":
        return "l1", metrics.shares(truth, prediction)["l1"]
    scores = metrics.classes(truth.argmax(axis=1), prediction)
    return "accuracy", scores["accuracy"]
