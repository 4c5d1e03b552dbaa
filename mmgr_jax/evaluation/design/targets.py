"""What a head is asked to predict: a label's checked values, and their scale."""

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
    """What is to be predicted: the checked values of one label, such as population.

    Attributes:
        label: What it means.
        values: [r] in the label's unit; [r k] shares; [r] the number of the class.
        known: Which regions have a value, [r].
        log: The head and a metric take logarithms, as nothing is negative.
    """

    label: Label
    values: Float[np.ndarray, "r ..."]
    known: Bool[np.ndarray, " r"]
    log: bool

    @property
    def is_number(self) -> bool:
        """Whether a region has a number, and not shares or a class."""
        return self.label.kind not in ("share", "class")

    @property
    def num_outputs(self) -> int:
        """What a head has to tell: one number, or one for each class."""
        return 1 if self.is_number else len(self.label.classes)

    def shares(self) -> Float[np.ndarray, "r k"]:
        """Shares that sum to one, all of a region for its class; 0 where unknown."""
        if self.label.kind == "share":
            return np.where(self.known[:, None], self.values, 0.0)
        number = np.where(self.known, self.values, 0).astype(np.int64)
        return np.eye(self.num_outputs)[number] * self.known[:, None]


@dataclasses.dataclass(frozen=True)
class TargetScale:
    """How numbers in a label's unit become what a head regresses, and back.

    Attributes:
        log: Whether it regresses log(1 + value / unit).
        unit: The median of the positive training targets, so that the label's own
            unit does not matter: regions far below it are seen on a linear scale,
            those far above on a logarithmic one.
        ceiling: Where log-scaled predictions stop, in the label's unit.
        mean: Of the training targets, after the logarithm; regressed is the rest,
        deviation: in parts of this: their standard deviation, 1 if they are all equal.
    """

    log: bool = False
    unit: float = 1.0
    ceiling: float = float("inf")
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"], *, log: bool) -> TargetScale:
        """The scale of training targets [n], at least one."""
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
        """Values in the label's unit -> what is regressed."""
        scaled = np.log1p(values / self.unit) if self.log else values
        return (scaled - self.mean) / self.deviation

    def restored(self, regressed: Float[np.ndarray, " *n"]) -> Float[np.ndarray, " *n"]:
        """The way back, clipped to 0 and the ceiling where logarithms were taken.

        It estimates the median rather than the mean of a region's value: sums of
        predictions tend to be low.
        """
        scaled = regressed * self.deviation + self.mean
        if not self.log:
            return scaled
        most = np.log1p(self.ceiling / self.unit)
        return self.unit * np.expm1(np.clip(scaled, 0.0, most))


def check(
    name: str, label: Label, values: Float[np.ndarray, " *n"], num_regions: int
) -> Target:
    """The target behind a label.

    Args:
        name: The label's name, for errors.
        label: What it means.
        values: [r], or [r k] shares; NaN where unknown.
        num_regions: Number of regions r.

    Raises:
        InputError: If the shape is another, nothing is known, an amount is negative,
            shares do not sum to one, or a class is not one of the list.
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
