"""A fitted head with everything that predictions need, for saving and for maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy import special

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design.grid import Cell
from mmgr_jax.evaluation.design.targets import TargetScale

NOBODY = Label(kind="scalar", unit="1")


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted model that predicts one label from the features of a region.

    Attributes:
        protocol: How it was fitted; decides what `weights` holds.
        weights: `linear`: kernel [f k], bias [k]. `mlp`, `released`: kernel1 [f h],
            bias1 [h], kernel2 [h k], bias2 [k]. `knn`: features [n f] of the training
            regions, of unit length, and what each votes for, votes [n k].
        feature_mean: Mean of each feature, which is subtracted, [f].
        feature_inverse: Factor after that; 0 for features constant in training, [f].
        scale: Converts regressed values to the label's unit; None for shares, classes.
        cell: The cell, which says which labels the head saw.
        setting: Setting that validation chose: strength, number of neighbours or steps.
        label_name: Name of the label.
        label: Meaning of the label, with unit and classes.
        feature_kind: Kind of features that the head reads, such as "image".
        split: Kind of the split.
        metrics: Metrics on the regions on which the head was tested.
    """

    protocol: str
    weights: Mapping[str, np.ndarray]
    feature_mean: Float[np.ndarray, " f"]
    feature_inverse: Float[np.ndarray, " f"]
    scale: TargetScale | None
    cell: Cell
    setting: float
    label_name: str = ""
    label: Label = NOBODY
    feature_kind: str = ""
    split: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def predict(self, features: Float[np.ndarray, "r f"]) -> Float[np.ndarray, "r ..."]:
        """Predicts any regions.

        Args:
            features: Features of the kind on which the head was fitted.

        Returns:
            Predictions: [r] in the label's unit; [r k] shares or probabilities.

        Raises:
            InputError: If the number of features differs.
        """
        length = len(self.feature_mean)
        if features.ndim != 2 or features.shape[1] != length:
            raise InputError(
                f"the head of {self.label_name!r} reads {length} features of kind "
                f"{self.feature_kind!r}, but was given shape {features.shape}. Choose "
                "the checkpoint and the kind of features it was fitted on."
            )
        x = (features.astype(np.float64) - self.feature_mean) * self.feature_inverse
        return as_prediction(self.protocol, self.scale, OUTPUTS[self.protocol](self, x))


def as_prediction(
    protocol: str, scale: TargetScale | None, outputs: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, "r ..."]:
    """Converts outputs of a head to predictions in the label's unit, or shares."""
    if scale is not None:
        return scale.restored(outputs[:, 0])
    return outputs if protocol == "knn" else special.softmax(outputs, axis=1)


def _linear(head: Head, x: np.ndarray) -> np.ndarray:
    return x @ head.weights["kernel"] + head.weights["bias"]


def _two_layers(head: Head, x: np.ndarray) -> np.ndarray:
    w = head.weights
    hidden = np.maximum(x @ w["kernel1"] + w["bias1"], 0.0)
    return hidden @ w["kernel2"] + w["bias2"]


def _released(head: Head, x: np.ndarray) -> np.ndarray:
    """As `_two_layers`, and a ReLU at the end."""
    return np.maximum(_two_layers(head, x), 0.0)


def _neighbours(head: Head, x: np.ndarray) -> np.ndarray:
    """The mean of what the nearest training regions vote for, by cosine."""
    similarity = unit_length(x) @ head.weights["features"].T
    count = int(head.setting)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return head.weights["votes"][nearest].mean(axis=1)


def unit_length(x: Float[np.ndarray, "r f"]) -> Float[np.ndarray, "r f"]:
    """Scales rows to length 1; rows of zeros stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


OUTPUTS = {
    "linear": _linear,
    "mlp": _two_layers,
    "released": _released,
    "knn": _neighbours,
}
