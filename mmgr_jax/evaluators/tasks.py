"""The labelled tasks: every method, label and split to out-of-fold predictions.

Each fold is tested once by heads that never saw it: other regions choose the strength,
and others again train. Metrics are pooled over the out-of-fold
predictions of all labelled regions.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import heads, metrics
from mmgr_jax.evaluators.report import Report, Result, Task
from mmgr_jax.evaluators.splits import Split

SUM_TOLERANCE = 1e-3
"""Shares whose sum is further from one than this are refused."""

FEW_BYTES = 2e8
"""Features smaller than this are fitted on one core: the thread pools of NumPy and
SciPy get in each other's way, 0.7 s against 0.06 s for one softmax of 960 x 128."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One label, checked: float64 values and which regions have one.

    `log`: the head and a metric take logarithms, as nothing is negative.
    """

    label: Label
    values: Float[np.ndarray, "r ..."]
    known: Bool[np.ndarray, " r"]
    log: bool

    @property
    def head(self) -> str:
        """The head this task gets, in words."""
        if self.label.kind == "share":
            return "softmax"
        return "ridge on log(1 + value / median)" if self.log else "ridge"


def evaluate(
    methods: Mapping[str, Float[np.ndarray, "_ _"] | None],
    labels: Mapping[str, tuple[Label, Float[np.ndarray, "..."]]],
    given_splits: Mapping[str, Split],
    *,
    tasks: Sequence[str] = (),
    strengths: Sequence[float],
    seed: int = 0,
) -> Report:
    """How well each method predicts each label where it was not trained.

    Shares get a softmax head; counts, densities and scalars get ridge regression on
    log(1 + value / median of the positive training targets), scalars with negative
    values on their own scale. All methods and tasks of one split share the folds.

    Args:
        methods: Name -> features of all regions, or None for the mean of the
            training targets (arithmetic, in the label's unit).
        labels: Name -> (meaning, values); values [r] in the label's unit, or [r k]
            shares. A region with NaN has no label: it is left out of training and
            metrics, yet predicted.
        given_splits: Kind -> split, see `splits.choose`; the first is the one whose
            predictions the report hands out.
        tasks: Labels to evaluate; empty for all of them.
        strengths: L2 strengths to choose from, above 0.
        seed: Seed of the folds, for the report.

    Returns:
        The report.

    Raises:
        InputError: If a task is unknown, a label has no known value, is negative or
            does not sum to one where it must, features do not cover every region
            with finite numbers, or a round has no labelled region in some role.
    """
    names = _task_names(tasks, labels)
    _check_settings(methods, strengths, given_splits)
    num_regions = len(next(iter(given_splits.values())).fold)
    targets = {name: _target(name, *labels[name], num_regions) for name in names}
    for method, features in methods.items():
        _check_features(method, features, num_regions)
    results = {name: {kind: {} for kind in given_splits} for name in names}
    for kind, split in given_splits.items():
        for name, target in targets.items():
            _check_rounds(name, target, split, kind)
        for method, features in methods.items():
            small = features is None or features.nbytes < FEW_BYTES
            with threadpool_limits(1 if small else None, user_api="blas"):
                fits = _out_of_fold(features, targets, split, strengths)
            for name, (prediction, chosen) in fits.items():
                result = _score(targets[name], prediction, split.fold, chosen)
                results[name][kind][method] = result
    reported = {
        name: Task(
            label=target.label,
            head=target.head,
            num_regions=num_regions,
            num_labelled=int(target.known.sum()),
            results=results[name],
        )
        for name, target in targets.items()
    }
    num_folds = {kind: split.num_folds for kind, split in given_splits.items()}
    return Report(tasks=reported, num_folds=num_folds, seed=seed)


def _out_of_fold(
    features: np.ndarray | None,
    targets: Mapping[str, Target],
    split: Split,
    strengths: Sequence[float],
) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """Task -> predictions of every region while it was tested, strength of each fold.

    Tasks with the same labelled regions share one basis a fold.
    """
    predictions = {n: np.full(t.values.shape, np.nan) for n, t in targets.items()}
    chosen: dict[str, list[float]] = {name: [] for name in targets}
    for test_fold in range(split.num_folds):
        part = split.parts(test_fold)
        bases: dict[bytes, heads.Basis] = {}
        for name, target in targets.items():
            train = part.train & target.known
            if features is None:
                predicted = heads.mean(target.values, train)
            else:
                key = train.tobytes()
                if key not in bases:
                    bases[key] = heads.basis(features, train)
                fit = _fit(target, bases[key], part.validation, strengths)
                predicted = fit.prediction
                chosen[name].append(fit.strength)
            predictions[name][part.test] = predicted[part.test]
    return {name: (predictions[name], tuple(chosen[name])) for name in targets}


def _fit(
    target: Target,
    basis: heads.Basis,
    validation: np.ndarray,
    strengths: Sequence[float],
) -> heads.Fit:
    known = validation & target.known
    if target.label.kind == "share":
        return heads.softmax(
            basis, target.values, validation=known, strengths=strengths
        )
    return heads.ridge(
        basis, target.values, validation=known, strengths=strengths, log=target.log
    )


def _score(
    target: Target,
    prediction: np.ndarray,
    fold: np.ndarray,
    strengths: tuple[float, ...],
) -> Result:
    if not np.isfinite(prediction).all():
        raise AssertionError("every region is tested once, with a finite prediction")

    def measure(rows: np.ndarray) -> dict[str, float]:
        return _measure(target, prediction, rows, constant=not strengths)

    return Result(
        prediction=prediction,
        metrics=measure(target.known),
        fold_metrics=tuple(
            measure(target.known & (fold == tested)) for tested in np.unique(fold)
        ),
        strengths=strengths,
    )


def _measure(
    target: Target, prediction: np.ndarray, rows: np.ndarray, *, constant: bool
) -> dict[str, float]:
    if target.label.kind == "share":
        return metrics.shares(target.values[rows], prediction[rows])
    values = metrics.scalar(
        target.values[rows],
        prediction[rows],
        # One scale for the city, so that folds can be compared.
        log_scale=metrics.median_positive(target.values[target.known]),
    )
    if constant:
        # The mean ranks nothing, but pooled over folds it would: a fold with high
        # values has a low training mean, hence a negative correlation.
        values["spearman"] = float("nan")
    return values


def _task_names(tasks: Sequence[str], labels: Mapping[str, tuple]) -> tuple[str, ...]:
    if not labels:
        raise InputError(
            "there is no label to evaluate. Add one under config.labels and build "
            "the records again."
        )
    unknown = [name for name in tasks if name not in labels]
    if unknown:
        raise InputError(
            f"config.eval.tasks names {', '.join(map(repr, unknown))}; the labels of "
            f"these records are {', '.join(sorted(labels))}. Choose among them, or "
            "leave it empty for all."
        )
    return tuple(tasks) or tuple(labels)


def _check_settings(
    methods: Mapping[str, np.ndarray | None],
    strengths: Sequence[float],
    given_splits: Mapping[str, Split],
) -> None:
    for name, value in (("methods", methods), ("given_splits", given_splits)):
        if not value:
            raise InputError(f"evaluate: {name} is empty; give at least one")
    if not len(strengths) or min(strengths) <= 0:
        raise InputError(
            f"config.eval.strengths is {tuple(strengths)}: give one or more numbers "
            "above 0, such as (1e-3, 1.0, 1e3)."
        )


def _target(name: str, label: Label, values: np.ndarray, num_regions: int) -> Target:
    values = np.asarray(values, np.float64)
    if values.shape != (num_regions, *label.shape):
        raise InputError(
            f"label/{name}: shape {values.shape} for {num_regions} regions of kind "
            f"{label.kind!r}, expected {(num_regions, *label.shape)}"
        )
    known = np.isfinite(values.reshape(num_regions, -1)).all(axis=1)
    if not known.any():
        raise InputError(
            f"label/{name}: none of the {num_regions} regions has a known value. "
            f"Check that config.labels.{name}.path covers the imagery and that its "
            "CRS is right, or leave it out with config.eval.tasks."
        )
    lowest = values[known].min()
    if lowest < 0 and label.kind != "scalar":
        row = np.argwhere(values < 0)[0, 0]
        raise InputError(
            f"label/{name}: {lowest:g} in row {row}, but a {label.kind} cannot be "
            f"negative. Check the nodata value of config.labels.{name}.path."
        )
    if label.kind == "share":
        _check_sums(name, values, known)
    return Target(label, values, known, log=bool(lowest >= 0))


def _check_sums(name: str, values: np.ndarray, known: np.ndarray) -> None:
    wrong = np.flatnonzero(known & (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE))
    if len(wrong):
        raise InputError(
            f"label/{name}: the shares of {len(wrong)} regions do not sum to one, "
            f"first row {wrong[0]} with {values[wrong[0]].sum():.4f}. Build the "
            "records again."
        )


def _check_features(method: str, features: np.ndarray | None, num_regions: int) -> None:
    """A region without a prediction would be dropped silently: refuse it here."""
    if features is None:
        return
    if features.ndim != 2 or len(features) != num_regions:
        raise InputError(
            f"features of {method!r} have shape {features.shape}; expected one row "
            f"for each of the {num_regions} regions"
        )
    rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(rows):
        raise InputError(
            f"features of {method!r} are not finite for {len(rows)} of {num_regions} "
            f"regions, the first in row {rows[0]}, so these regions would have no "
            "prediction. Check the checkpoint and the images of these regions."
        )


def _check_rounds(name: str, target: Target, split: Split, kind: str) -> None:
    """Every round needs labelled regions to train, to choose and to test on."""
    for test_fold in range(split.num_folds):
        for role, rows in split.parts(test_fold)._asdict().items():
            if not (rows & target.known).any():
                raise InputError(
                    f"label/{name}: with fold {test_fold} of {split.num_folds} tested "
                    f"({kind} split), no {role} region with a label is left; "
                    f"{int(target.known.sum())} of {len(rows)} regions have one. Make "
                    "blocks smaller (config.blocks.size_m), ask for fewer folds "
                    "(config.eval.num_folds) or a narrower buffer "
                    "(config.eval.buffer_m)."
                )
