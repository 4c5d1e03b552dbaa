"""The protocol `finetune`: trains whole image encoders on a task, fold by fold."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import cast

import jax
import numpy as np

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.feature_sets import EvaluatedCity
from mmgr_jax.evaluation.heads import finetune, jobs, protocols
from mmgr_jax.evaluation.inference_encoder import InferenceEncoder
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.models.mmgr import MMGR
from mmgr_jax.typing import Tree


def tuners(
    eval_settings: EvalSettings,
    encoders: Mapping[str, InferenceEncoder],
    city: EvaluatedCity,
    methods: Sequence[str],
) -> dict[str, jobs.Tuner]:
    """Returns method -> training of the encoder, for "<encoder> image" of each encoder.

    Empty if `eval.protocols` does not name "finetune", which takes minutes to hours.
    Frozen features take seconds.
    """
    if "finetune" not in eval_settings.protocols:
        return {}
    tables = [name for name, encoder in encoders.items() if encoder.model.reads_table]
    if tables:
        raise InputError(
            f"config.eval.protocols: 'finetune' trains image encoders, and that of "
            f"{tables[0]} is a table of numbers, which do not learn. Leave it out."
        )
    read = functools.partial(city.source.read, image=True)
    tiles = np.stack(
        [record["image"] for rows in city.source.parts() for record in read(rows)]
    )
    return {
        f"{name} image": functools.partial(
            _tune, eval_settings, encoder, encoder.palette(city.source), tiles
        )
        for name, encoder in encoders.items()
        if f"{name} image" in methods
    }


def _tune(
    eval_settings: EvalSettings,
    encoder: InferenceEncoder,
    palette: np.ndarray | None,
    tiles: np.ndarray,
    target: Target,
    cells: grid.Grid,
) -> protocols.Fits:
    return finetune.finetune(
        functools.partial(_encode, encoder.model),
        encoder.variables,
        tiles,
        target,
        cells,
        eval_settings.finetune,
        size_px=encoder.size_px,
        mean=encoder.model.image_encoder.pixel_mean,
        std=encoder.model.image_encoder.pixel_std,
        palette=palette,
        seed=eval_settings.seed,
    )


def _encode(
    model: MMGR, variables: Tree, view: jax.Array, train: bool
) -> tuple[jax.Array, Tree]:
    """Image features, and the batch statistics after them."""
    if not train:
        features = model.apply(variables, view, method="encode_image")
        return cast(jax.Array, features), variables["batch_stats"]
    features, updated = model.apply(
        variables, view, train=True, method="encode_image", mutable=["batch_stats"]
    )
    return features, updated["batch_stats"]
