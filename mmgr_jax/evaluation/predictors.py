"""Predictions of a task's heads: values, intervals, regions unlike training regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.certainty import applicability, checks, conformal
from mmgr_jax.evaluation.design.grid import NO_FOLD
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.evaluation.trials import scores
from mmgr_jax.evaluation.trials.results import Task

UNSEEN = NO_FOLD
"""The fold of a region that no head has seen."""

LEVEL = 0.9
"""Level of the intervals on maps."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predictions of some regions, with intervals.

    Attributes:
        value: Predicted values: [r] in the label's unit, or [r k] shares or
            probabilities.
        low: Lower end of the interval, [r] or [r k]. NaN for classes. Infinite, or the
            limit of possible values, if nothing can be promised.
        high: Upper end of the interval.
        unlike: Regions unlike all on which the heads were tested, [r]. Their values and
            intervals are a guess.
    """

    value: Float[np.ndarray, "r ..."]
    low: Float[np.ndarray, "r ..."]
    high: Float[np.ndarray, "r ..."]
    unlike: Bool[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """The heads of one task on one kind of features.

    Attributes:
        heads: Heads by the fold on which each is tested; `UNSEEN`: for other regions.
        radius: Radius of intervals of level `LEVEL`: one, or one for each class [k].
        log_scale: Scale of the logarithms, if the radius is on a log scale; else None.
        likeness: Measures how dissimilar regions are from the labelled regions.
        training_fold: Folds of the labelled regions [t].
    """

    heads: Mapping[int, Head]
    radius: Float[np.ndarray, " *k"]
    log_scale: float | None
    likeness: applicability.Applicability
    training_fold: Int[np.ndarray, " t"]

    @property
    def label(self) -> Label:
        """The label that is predicted."""
        return self.heads[UNSEEN].label

    def predict(
        self,
        features: Float[np.ndarray, "r f"],
        fold: Int[np.ndarray, " r"] | None = None,
    ) -> Prediction:
        """Predicts every region.

        Args:
            features: Features of the kind that the heads were trained on.
            fold: Fold of each region in the evaluation. Each region is predicted by the
                head that has not seen it. `UNSEEN`, or None for all regions: no head
                has seen the region.
        """
        if fold is None:
            value = self.heads[UNSEEN].predict(features)
            unlike = self.likeness.outside(features)
        else:
            value, unlike = self._out_of_fold(features, fold)
        low, high = self._limits(value)
        return Prediction(value, low, high, unlike)

    def values(
        self, features: Float[np.ndarray, "r f"], fold: Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, "r ..."]:
        """Predicts values without intervals, each by the head of its fold."""
        value = None
        for number in np.unique(fold).tolist():
            rows = fold == number
            predicted = self.heads[number].predict(features[rows])
            if value is None:
                value = np.full((len(features), *predicted.shape[1:]), np.nan)
            value[rows] = predicted
        assert value is not None
        return value

    def _out_of_fold(
        self, features: np.ndarray, fold: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        value, unlike = None, np.zeros(len(features), bool)
        for number, head in self.heads.items():
            rows = fold == number
            if not rows.any():
                continue
            predicted = head.predict(features[rows])
            if value is None:
                value = np.full((len(features), *predicted.shape[1:]), np.nan)
            value[rows] = predicted
            others = dataclasses.replace(
                self.likeness,
                training=self.likeness.training[self.training_fold != number],
            )
            unlike[rows] = others.outside(features[rows])
        assert value is not None
        return value, unlike

    def _limits(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.label.kind == "share":
            return conformal.share_bands(value, self.radius)
        if self.label.kind == "class":
            nothing = np.full(len(value), np.nan)
            return nothing, nothing
        return conformal.number_interval(
            value, float(self.radius), log_scale=self.log_scale
        )


def of_task(
    task: Task,
    target: Target,
    method: str,
    features: Features,
    block: Int[np.ndarray, " r"],
    fold: Int[np.ndarray, " r"],
) -> Predictor:
    """Makes the predictor of a method from the results of an evaluation.

    Args:
        task: The results of a label.
        target: The values of the label.
        method: Method whose heads are used.
        features: Features of all regions.
        block: Spatial block of each region [r].
        fold: Fold of each region under the first split [r].
    """
    known = target.known
    labelled = np.flatnonzero(known)
    like = labelled[checks.drawn(len(labelled), applicability.MANY)]
    prediction = task.main[method].prediction
    missed = scores.conformal_scores(target, prediction)[known]
    return Predictor(
        heads=task.kept[method],
        radius=np.asarray(conformal.radius(missed, block[known], level=LEVEL)),
        log_scale=scores.log_scale(target),
        likeness=applicability.fit(
            features.rows(like), fold[like], weight=features.weights()
        ),
        training_fold=fold[like],
    )
