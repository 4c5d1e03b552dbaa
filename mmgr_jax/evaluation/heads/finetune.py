"""The protocol `finetune`: the whole image encoder learns a task with a linear head.

The learning rate is lower for layers further from the head. Training stops by the
validation loss, and the weights with the best one predict. Cells are trained one after
another, because each has its own encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import plain_view, two_views
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target, TargetScale
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.heads.head import as_prediction
from mmgr_jax.evaluation.settings import FinetuneSettings
from mmgr_jax.models.learning import ENCODER, Learning
from mmgr_jax.models.readout import IMAGENET_MEAN, IMAGENET_STD
from mmgr_jax.train import optim
from mmgr_jax.typing import Tree

Encode = Callable[[Tree, Array, bool], tuple[Array, Tree]]
"""(variables, views [b s s 3], train) -> (features [b f], batch statistics after)."""

LAYER_DECAY = 0.7
"""Factor on the rate from one layer to the one below it."""

PATIENCE = 5
"""Epochs without a better validation loss that end the training."""

log = logging.getLogger(__name__)


class _State(NamedTuple):
    params: Tree  # "encoder" and "head"
    batch_stats: Tree
    opt_state: optax.OptState


class _Program(NamedTuple):
    """What is compiled once and serves every cell."""

    train: Callable[..., _State]  # (state, tiles, target, key)
    predict: Callable[..., Array]  # (params, batch_stats, tiles) -> outputs [b k]


def finetune(
    encode: Encode,
    variables: Tree,
    tiles: UInt8[np.ndarray, "r h w 3"],
    target: Target,
    grid: Grid,
    settings: FinetuneSettings,
    *,
    size_px: int,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    palette: Float[np.ndarray, "1 2 3"] | None = None,
    seed: int,
) -> Fits:
    """Trains an encoder and a linear head in every cell.

    Args:
        encode: Computes the features of views.
        variables: `params`, with the encoder under `ENCODER`, and `batch_stats`. Every
            cell starts from them. Other parameters stay as they are.
        tiles: Tiles of every region.
        target: What to predict.
        grid: Which regions train, choose and are tested in each cell.
        settings: Learning rate, batch size and number of epochs.
        size_px: Side of a view.
        mean: Mean of red, green and blue by which pixels are normalised.
        std: Their standard deviation.
        palette: Mean and deviation of the city, if they normalise pixels instead.
        seed: Random seed, used with the cell's seed for views and order of regions.
    """
    features = jax.eval_shape(
        lambda: encode(variables, jnp.zeros((1, size_px, size_px, 3)), False)[0]
    )
    params = {
        "encoder": variables["params"][ENCODER],
        "head": {
            "kernel": jnp.zeros((features.shape[1], target.num_outputs)),
            "bias": jnp.zeros(target.num_outputs),
        },
    }
    tx = _optimiser(settings.learning_rate)
    own = None if palette is None else jnp.asarray(palette)
    pixels = dict(mean=mean, std=std, palette=own)
    program = _compiled(encode, variables, tx, size_px, pixels, target.is_number)
    start = _State(params, variables["batch_stats"], tx.init(params))
    predictions, losses, chosen = [], [], []
    for index, cell in enumerate(grid.cells):
        train = grid.train[index]
        truth, scale = _truth(target, train)
        key = jax.random.fold_in(jax.random.key(seed), cell.seed)
        state, loss, epoch = _fit_cell(
            program,
            start,
            tiles,
            truth.astype(np.float32),
            np.flatnonzero(train),
            np.flatnonzero(grid.validation[index]),
            key,
            settings,
            is_number=target.is_number,
        )
        outputs = _outputs(program, state, tiles, grid.rows(index), settings.batch_size)
        predictions.append(as_prediction("linear", scale, outputs.astype(np.float64)))
        losses.append([loss])
        chosen.append(float(epoch))
        log.info(
            "finetune: cell %d of %d, %d epochs", index + 1, len(grid.cells), epoch
        )
    # No heads: one alone is of no use without its encoder.
    return Fits(tuple(predictions), tuple(chosen), np.asarray(losses), {})


def _truth(
    target: Target, train: np.ndarray
) -> tuple[Float[np.ndarray, "r k"], TargetScale | None]:
    """What is learnt of every region, and the scale of numbers, by training regions."""
    if not target.is_number:
        return target.shares(), None
    scale = TargetScale.of(target.values[train], log=target.log)
    known = np.where(target.known, target.values, 0.0)
    return scale.regressed(known)[:, None], scale


def _optimiser(learning_rate: float) -> optax.GradientTransformation:
    """AdamW with a rate for each layer; the head's is the whole."""
    learning = Learning(decay=LAYER_DECAY)
    adamw = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, weight_decay=1e-4)
    )
    return optim.scaled_by_part(
        adamw,
        lambda params: {"encoder": learning.factors(params["encoder"]), "head": 1.0},
    )


def _compiled(
    encode: Encode,
    variables: Tree,
    tx: optax.GradientTransformation,
    size_px: int,
    pixels: Mapping[str, Any],
    is_number: bool,
) -> _Program:
    def outputs(
        params: Tree, batch_stats: Tree, views: Array, train: bool
    ) -> tuple[Array, Tree]:
        given = {
            "params": {**variables["params"], ENCODER: params["encoder"]},
            "batch_stats": batch_stats,
        }
        features, batch_stats = encode(given, views, train)
        head = params["head"]
        return features.astype(jnp.float32) @ head["kernel"] + head["bias"], batch_stats

    # Turned and cropped, and never recoloured: colour tells of land use.
    turned = AugmentSettings(
        size_px=size_px,
        jitter_probability=0.0,
        grey_probability=0.0,
        vertical_flip=True,
        quarter_turns=True,
    )

    @jax.jit
    def train(state: _State, tiles: Array, target: Array, key: Array) -> _State:
        views = two_views(tiles, key, turned, **pixels)[0]

        def loss_fn(params: Tree) -> tuple[Array, Tree]:
            out, batch_stats = outputs(params, state.batch_stats, views, True)
            return jnp.mean(_loss(out, target, is_number)), batch_stats

        gradient, batch_stats = jax.grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = cast(Tree, optax.apply_updates(state.params, updates))
        return _State(params, batch_stats, opt_state)

    @jax.jit
    def predict(params: Tree, batch_stats: Tree, tiles: Array) -> Array:
        views = plain_view(tiles, size_px=size_px, **pixels)
        return outputs(params, batch_stats, views, False)[0]

    return _Program(train, predict)


def _fit_cell(
    program: _Program,
    state: _State,
    tiles: np.ndarray,
    truth: Float[np.ndarray, "r k"],
    train: np.ndarray,
    validation: np.ndarray,
    key: Array,
    settings: FinetuneSettings,
    *,
    is_number: bool,
) -> tuple[_State, float, int]:
    """The state that validated best, its loss and its epoch; 0 is the start."""
    size = min(settings.batch_size, len(train))

    def validate(state: _State) -> float:
        out = _outputs(program, state, tiles, validation, settings.batch_size)
        return float(np.mean(_loss(out, truth[validation], is_number)))

    best, least, best_epoch = state, validate(state), 0
    for epoch in range(1, settings.max_epochs + 1):
        key, shuffle = jax.random.split(key)
        order = np.asarray(jax.random.permutation(shuffle, train))
        for step in range(len(order) // size):
            rows = order[step * size : (step + 1) * size]
            views_key = jax.random.fold_in(shuffle, step)
            state = program.train(state, tiles[rows], truth[rows], views_key)
        loss = validate(state)
        if loss < least:
            best, least, best_epoch = state, loss, epoch
        if epoch - best_epoch >= PATIENCE:
            break
    return best, least, best_epoch


def _outputs(
    program: _Program,
    state: _State,
    tiles: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
) -> Float[np.ndarray, "b k"]:
    """Outputs for some regions; the last batch is filled up, so one program serves."""
    outputs = []
    for first in range(0, len(rows), batch_size):
        part = rows[first : first + batch_size]
        filled = np.resize(part, batch_size)
        out = program.predict(state.params, state.batch_stats, tiles[filled])
        outputs.append(np.asarray(out)[: len(part)])
    return np.concatenate(outputs)


def _loss(
    out: Array | np.ndarray, target: Array | np.ndarray, is_number: bool
) -> Array:
    """Squared error of a number on its scale, or cross entropy of shares, [b]."""
    if is_number:
        return jnp.sum((out - target) ** 2, axis=1)
    return optax.softmax_cross_entropy(out, target)
