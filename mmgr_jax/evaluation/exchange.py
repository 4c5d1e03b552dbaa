"""Files of a city's predictions for other programs, beside the table of embeddings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation import predictors

if TYPE_CHECKING:
    from mmgr_jax.geo.columns import Mapped


def mapped(
    task: str, label: Label, truth: np.ndarray, prediction: predictors.Prediction
) -> Mapped:
    """What is known and predicted of a label, as tables and maps take it."""
    from mmgr_jax.geo.columns import Mapped

    fields = dataclasses.fields(predictors.Prediction)
    return Mapped(
        task,
        label,
        truth,
        **{one.name: getattr(prediction, one.name) for one in fields},
    )
