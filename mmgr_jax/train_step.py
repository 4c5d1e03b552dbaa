"""One optimiser step, as a pure function of state, batch and key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mmgr_jax import augment, losses
from mmgr_jax.models.mmgr import MMGR
from mmgr_jax.typing import Key, PoiSets, Scalar, Tree, Views

Batch = Mapping[str, jax.Array]
Metrics = dict[str, Scalar]


@flax.struct.dataclass
class TrainState:
    """Everything a step reads and replaces.

    Attributes:
        step: Steps taken, int32 scalar.
        params: Parameters, float32.
        batch_stats: Running statistics of BatchNorm, float32.
        opt_state: State of the optimiser.
    """

    step: jax.Array | jax.ShapeDtypeStruct
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState


def init_state(
    model: MMGR,
    tx: optax.GradientTransformation,
    key: Key,
    num_slots: int,
    size_px: int,
) -> TrainState:
    """The state before the first step.

    Args:
        model: The model.
        tx: The optimiser.
        key: Decides the initial parameters.
        num_slots: POI slots of a batch.
        size_px: Side of a view.
    """
    variables = init_variables(model, key, num_slots, size_px)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        opt_state=tx.init(variables["params"]),
        **variables,
    )


def init_variables(model: MMGR, key: Key, num_slots: int, size_px: int) -> Tree:
    """Random `params` and fresh `batch_stats`."""
    rows = 2  # the values do not depend on it, nor on the number of edges
    pois = PoiSets(
        category=jnp.zeros((rows, num_slots), jnp.int32),
        offset_m=jnp.zeros((rows, num_slots, 2)),
        mask=jnp.ones((rows, num_slots), bool),
        edges=jnp.zeros((rows, 1, 2), jnp.int32),
        edge_weight=jnp.zeros((rows, 1)),
    )
    views = jnp.zeros((augment.VIEWS, rows, size_px, size_px, 3))
    variables = model.init(key, views, pois, train=True)
    return {
        "params": variables["params"],
        "batch_stats": variables.get("batch_stats", {}),
    }


def make_train_step(
    model: MMGR,
    tx: optax.GradientTransformation,
    *,
    augment_options: Mapping[str, Any],
    loss_options: Mapping[str, Any],
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """The step: two views, both encoders, both losses, one update.

    Args:
        model: The model.
        tx: The optimiser.
        augment_options: Keyword arguments of `augment.two_views`.
        loss_options: Keyword arguments of `losses.mmgr_loss`.
        mesh: Devices that batches are split over; None for one.

    Returns:
        `(state, batch, key) -> (state, metrics)`. The key is folded with the step, and
        with each example's place in the global batch: the views do not depend on the
        number of devices, nor on a restart.
    """
    update = make_update(model, tx, loss_options=loss_options, mesh=mesh)

    def train_step(
        state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        views = augment.two_views(batch["image"], step_key, **augment_options)
        return update(state, batch, views)

    return train_step


def make_update(
    model: MMGR,
    tx: optax.GradientTransformation,
    *,
    loss_options: Mapping[str, Any],
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch, Views], tuple[TrainState, Metrics]]:
    """The step after the views are made.

    Args:
        model: The model.
        tx: The optimiser.
        loss_options: Keyword arguments of `losses.mmgr_loss`.
        mesh: As for `make_train_step`.

    Returns:
        `(state, batch, views) -> (state, metrics)`.
    """

    def update(
        state: TrainState, batch: Batch, views: Views
    ) -> tuple[TrainState, Metrics]:
        pois = PoiSets.of(batch)

        def loss_fn(params: Tree) -> tuple[Scalar, tuple[Metrics, Tree]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, updates = model.apply(
                variables, views, pois, train=True, mutable=["batch_stats"]
            )
            loss, parts = losses.mmgr_loss(
                **outputs,
                example_mask=batch["example_mask"],
                poi_empty=~jnp.any(pois.mask, axis=1),
                mesh=mesh,
                **loss_options,
            )
            return loss, (parts, updates.get("batch_stats", {}))

        gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (parts, batch_stats)), gradient = gradient_fn(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            **parts,
            "gradient_norm": optax.tree.norm(gradient),
        }
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        ), metrics

    return update
