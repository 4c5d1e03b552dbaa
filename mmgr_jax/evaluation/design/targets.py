"""What a head predicts: the checked values of a label, and their scale."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import metrics

SUM_TOLERANCE = 1e-3
"""Shares whose sum is further from one than this are refused."""

MAX_GROWTH = 2.0
"""Log-scaled predictions stop at this many times the largest training target: a
line on a log scale extrapolates exponentially, and one region would decide RMSE."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The checked values of one label that heads predict, such as population.

    Attributes:
        label: Meaning of the label.
        values: Values: [r] in the label's unit; [r k] shares; or [r] class numbers.
        known: Which regions have a value, [r].
        log: Whether heads and a metric use logarithms, because no value is negative.
    """

    label: Label
    values: Float[np.ndarray, "r ..."]
    known: Bool[np.ndarray, " r"]
    log: bool

    @property
    def is_number(self) -> bool:
        """Whether the label is a number, not shares or a class."""
        return self.label.kind not in ("share", "class")

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a head: one, or one for each class."""
        return 1 if self.is_number else len(self.label.classes)

    def shares(self) -> Float[np.ndarray, "r k"]:
        """Shares of each class; 1 for the class of a region, 0 if it is unknown."""
        if self.label.kind == "share":
            return np.where(self.known[:, None], self.values, 0.0)
        number = np.where(self.known, self.values, 0).astype(np.int64)
        return np.eye(self.num_outputs)[number] * self.known[:, None]


@dataclasses.dataclass(frozen=True)
class TargetScale:
    """Converts numbers between the label's unit and the scale that a head regresses.

    The head regresses (x - mean) / deviation, where x is the value or its logarithm.

    Attributes:
        log: Whether x is log(1 + value / unit).
        unit: Median of the positive training targets, so that the label's own unit
            does not matter. The scale is nearly linear for values far below it and
            logarithmic for values far above.
        ceiling: Upper limit of log-scaled predictions, in the label's unit.
        mean: Mean of x over the training targets.
        deviation: Standard deviation of x, 1 if all are equal.
    """

    log: bool = False
    unit: float = 1.0
    ceiling: float = float("inf")
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"], *, log: bool) -> TargetScale:
        """Computes the scale from training targets [n], at least one."""
        unit = metrics.median_positive(values)
        scaled = np.log1p(values / unit) if log else values
        deviation = float(scaled.std())
        return cls(
            log=log,
            unit=unit,
            ceiling=float(MAX_GROWTH * values.max()),
            mean=float(scaled.mean()),
            deviation=deviation if deviation > 0 else 1.0,
        )

    def regressed(self, values: Float[np.ndarray, " *n"]) -> Float[np.ndarray, " *n"]:
        """Converts values in the label's unit to the regressed scale."""
        scaled = np.log1p(values / self.unit) if self.log else values
        return (scaled - self.mean) / self.deviation

    def restored(self, regressed: Float[np.ndarray, " *n"]) -> Float[np.ndarray, " *n"]:
        """Converts back to the label's unit; log-scaled values stay in 0 .. ceiling.

        With logarithms the result estimates the median of a region's value, not the
        mean. So sums of predictions tend to be low.
        """
        scaled = regressed * self.deviation + self.mean
        if not self.log:
            return scaled
        most = np.log1p(self.ceiling / self.unit)
        return self.unit * np.expm1(np.clip(scaled, 0.0, most))


def check(
    name: str, label: Label, values: Float[np.ndarray, " *n"], num_regions: int
) -> Target:
    """Checks the values of a label and returns the target.

    Args:
        name: The label's name, for errors.
        label: Meaning of the label.
        values: Values [r], or [r k] shares; NaN where unknown.
        num_regions: Number of regions r.

    Raises:
        InputError: If the shape is wrong, no value is known, an amount is negative,
            shares do not sum to one, or a class is not one of the label's classes.
    """
    values = np.asarray(values, np.float64)
    shape = (num_regions, *((len(label.classes),) if label.kind == "share" else ()))
    if values.shape != shape:
        raise InputError(
            f"label/{name}: shape {values.shape} for {num_regions} regions of kind "
            f"{label.kind!r}, expected {shape}"
        )
    known = np.all(np.isfinite(values.reshape(num_regions, -1)), axis=1)
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
    if label.kind == "class":
        _check_classes(name, label, values, known)
    return Target(label, values, known, log=bool(lowest >= 0) and not label.classes)


def _check_sums(name: str, values: np.ndarray, known: np.ndarray) -> None:
    wrong = np.flatnonzero(known & (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE))
    if len(wrong):
        raise InputError(
            f"label/{name}: the shares of {len(wrong)} regions do not sum to one, "
            f"first row {wrong[0]} with {values[wrong[0]].sum():.4f}. Build the "
            "records again."
        )


def _check_classes(
    name: str, label: Label, values: np.ndarray, known: np.ndarray
) -> None:
    whole = (values == np.round(values)) & (values < len(label.classes))
    wrong = np.flatnonzero(known & ~whole)
    if len(wrong):
        raise InputError(
            f"label/{name}: {values[wrong[0]]:g} in row {wrong[0]} is not the number "
            f"of a class; there are {len(label.classes)}, from 0. Build the records "
            "again."
        )
