"""Makes one optimiser step, as a pure function of state, batch and key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import palette_of, two_views
from mmgr_jax.losses import contrastive
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models import learning as learning_lib
from mmgr_jax.models.learning import Learning, joined
from mmgr_jax.models.mmgr import MMGR
from mmgr_jax.models.start import init_variables
from mmgr_jax.store.state import TrainState
from mmgr_jax.towers import views as tower_views
from mmgr_jax.typing import MESH_AXES, VIEWS, Batch, Key, PoiSets, Scalar, Tree, Views

Metrics = dict[str, Scalar]
Outputs = dict[str, jax.Array]
Encode = Callable[[Tree, Tree, Batch, Any], tuple[Outputs, Tree]]
"""(params, batch_stats, batch, other input) -> (outputs, batch_stats afterwards)"""


def init_state(
    model: MMGR,
    tx: optax.GradientTransformation,
    key: Key,
    num_slots: int,
    size_px: int,
) -> TrainState:
    """Makes the state before the first step.

    Args:
        model: The model.
        tx: The optimiser.
        key: Random key of the initial parameters.
        num_slots: Number of POI slots for each region in a batch.
        size_px: Side of a view, in pixels.
    """
    variables = init_variables(model, key, num_slots, size_px)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        opt_state=tx.init(model.learning.part(variables["params"])[0]),
        **variables,
    )


def make_train_step(
    model: MMGR,
    tx: optax.GradientTransformation,
    *,
    augment: AugmentSettings,
    loss: LossSettings,
    gradient_dtype: str,
    microbatches: int = 1,
    mesh: Mesh | None = None,
    palettes: Float[np.ndarray, "c 2 3"] | None = None,
) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """Makes the training step: two views, both encoders, both losses, one update.

    With a locked tower, batches hold `tower`, features of each region's views [b w f],
    instead of `image`. Then nothing is augmented, and only POIs are encoded.

    Args:
        model: The model.
        tx: The optimiser.
        augment: The section `augment`; pixels are normalised as the image encoder
            needs them.
        loss: The section `loss`.
        gradient_dtype: Number type in which gradients are summed over devices,
            "float32" or "bfloat16".
        microbatches: Number of parts of a batch that are encoded one after another, see
            `in_microbatches`. The losses see the whole batch.
        mesh: Devices over which batches are split; None for one device.
        palettes: `corpus.palettes`. With several cities, batches hold `city_index`.

    Returns:
        `(state, batch, key) -> (state, metrics)`. The key is folded with the step, and
        with each example's place in the global batch. So the views depend neither on
        the number of devices nor on a restart.
    """

    def encode_whole(
        params: Tree, batch_stats: Tree, batch: Batch, key: Key
    ) -> tuple[Outputs, Tree]:
        if model.learning.locked:
            return apply_kept(model, params, batch_stats, batch, key)
        views = two_views(
            batch["image"],
            key,
            augment,
            batch["place"],
            mean=model.image_encoder.pixel_mean,
            std=model.image_encoder.pixel_std,
            palette=palette_of(palettes, batch.get("city_index")),
        )
        return apply(model, params, batch_stats, batch, views)

    encode: Encode = encode_whole
    if microbatches > 1:
        encode = in_microbatches(encode, microbatches)
    if mesh is not None and mesh.size > 1:
        encode = on_each_device(encode, mesh, jnp.dtype(gradient_dtype))
    update = make_update(encode, tx, loss=loss, mesh=mesh, learning=model.learning)

    def train_step(
        state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        batch = {**batch, "place": jnp.arange(len(batch["example_mask"]))}
        return update(state, batch, jax.random.fold_in(key, state.step))

    return train_step


def apply(
    model: MMGR,
    params: Tree,
    batch_stats: Tree,
    batch: Batch,
    views: Views | jax.Array,
    method: str = "__call__",
) -> tuple[Outputs, Tree]:
    """Applies the model in training mode.

    Args:
        model: The model.
        params: Its parameters.
        batch_stats: Its batch statistics.
        batch: The batch, from which the POI sets are read.
        views: Input of `method`: views, or features of views.
        method: Method of the model, "__call__" or "compare".

    Returns:
        The outputs, and the batch statistics afterwards.
    """
    outputs, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        views,
        PoiSets.of(batch),
        train=True,
        mutable=["batch_stats"],
        method=method,
    )
    return outputs, cast(Tree, updates.get("batch_stats", {}))


def apply_kept(
    model: MMGR, params: Tree, batch_stats: Tree, batch: Batch, key: Key
) -> tuple[Outputs, Tree]:
    """Applies the model as `apply` does, to features that a locked tower computed."""
    features = tower_views.two_of(batch["tower"], key, batch["place"])
    outputs, batch_stats = apply(
        model, params, batch_stats, batch, features, method="compare"
    )
    z_image = outputs["z_image"]  # a single view serves as both views
    outputs["z_image"] = jnp.broadcast_to(z_image, (VIEWS, *z_image.shape[1:]))
    return outputs, batch_stats


def in_microbatches(encode: Encode, count: int) -> Encode:
    """Makes an encoding work on one part of the batch at a time.

    The backward pass encodes each part again. So the memory for one part is enough, and
    the arithmetic grows by a third. The gradient is that of the whole batch, except
    that BatchNorm uses the statistics of each part, and updates its running statistics
    `count` times.

    Args:
        encode: Function that encodes any batch.
        count: Number of parts, a divisor of the batch size.
    """

    def encode_parts(
        params: Tree, batch_stats: Tree, batch: Batch, given: Any
    ) -> tuple[Outputs, Tree]:
        @jax.checkpoint
        def part(batch_stats: Tree, batch: Batch) -> tuple[Tree, Outputs]:
            outputs, batch_stats = encode(params, batch_stats, batch, given)
            return batch_stats, outputs

        parted = jax.tree.map(
            lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), dict(batch)
        )
        batch_stats, outputs = jax.lax.scan(part, batch_stats, parted)
        z_image, z_poi = outputs.pop("z_image"), outputs.pop("z_poi")
        p = z_poi.shape[-1]
        whole = {
            "z_image": z_image.swapaxes(0, 1).reshape(VIEWS, -1, p),
            "z_poi": z_poi.reshape(-1, p),
        }
        # What does not belong to a region is the same in every part.
        return whole | {name: leaf[0] for name, leaf in outputs.items()}, batch_stats

    return encode_parts


def on_each_device(encode: Encode, mesh: Mesh, gradient_dtype: Any) -> Encode:
    """Makes an encoding work on all devices, each with its own rows of the batch.

    The exchanges between devices are explicit: the statistics that BatchNorm shares,
    the mean of its running statistics, and in the backward pass one sum of the
    gradients.

    Args:
        encode: Function that encodes the rows of a device, inside a `shard_map`.
        mesh: Devices over which batches are split.
        gradient_dtype: Number type in which gradients of the parameters are summed.
    """
    whole, rows = PartitionSpec(), PartitionSpec(MESH_AXES)

    def encode_own(
        exact: Tree, carriers: Tree, batch_stats: Tree, batch: Batch, given: Any
    ) -> tuple[jax.Array, jax.Array, Outputs, Tree]:
        params = jax.tree.map(_with_gradient_to, carriers, exact)
        outputs, batch_stats = encode(params, batch_stats, batch, given)
        batch_stats = jax.lax.pmean(batch_stats, MESH_AXES)
        z_image, z_poi = outputs.pop("z_image"), outputs.pop("z_poi")
        return z_image, z_poi, outputs, batch_stats

    mapped = jax.shard_map(
        encode_own,
        mesh=mesh,
        in_specs=(whole, whole, whole, rows, whole),
        out_specs=(PartitionSpec(None, MESH_AXES), rows, whole, whole),
        check_vma=False,  # custom_vjp does not carry the types that it would check
    )

    def encode_all(
        params: Tree, batch_stats: Tree, batch: Batch, given: Any
    ) -> tuple[Outputs, Tree]:
        z_image, z_poi, others, batch_stats = mapped(
            jax.lax.stop_gradient(params),
            jax.tree.map(lambda leaf: leaf.astype(gradient_dtype), params),
            batch_stats,
            dict(batch),
            given,
        )
        return {"z_image": z_image, "z_poi": z_poi, **others}, batch_stats

    return encode_all


@jax.custom_vjp
def _with_gradient_to(carrier: jax.Array, exact: jax.Array) -> jax.Array:
    """Returns `exact`; its gradient goes to `carrier`, in the type of `carrier`."""
    del carrier
    return exact


_with_gradient_to.defvjp(
    lambda carrier, exact: (exact, jnp.zeros(0, carrier.dtype)),
    lambda like, gradient: (gradient.astype(like.dtype), None),
)


def make_update(
    encode: Encode,
    tx: optax.GradientTransformation,
    *,
    loss: LossSettings,
    mesh: Mesh | None = None,
    learning: Learning = learning_lib.ALL,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]:
    """Makes the step from an encoding: losses, gradient and update.

    Args:
        encode: Function that computes the outputs of the model for a batch.
        tx: The optimiser.
        loss: The section `loss`.
        mesh: As for `make_train_step`.
        learning: Which parameters learn. The others get no gradient and do not change.

    Returns:
        `(state, batch, given) -> (state, metrics)`; `given` is passed to `encode`.
    """

    def update(
        state: TrainState, batch: Batch, given: Any
    ) -> tuple[TrainState, Metrics]:
        learnt, still = learning.part(state.params)

        def loss_fn(learnt: Tree) -> tuple[Scalar, tuple[Metrics, Tree]]:
            params = joined(learnt, still)
            outputs, batch_stats = encode(params, state.batch_stats, batch, given)
            value, parts = contrastive.mmgr_loss(
                **outputs,
                settings=loss,
                example_mask=batch["example_mask"],
                poi_empty=~jnp.any(batch["poi_mask"], axis=1),
                city=batch.get("city_index"),
                mesh=mesh,
            )
            return value, (parts, batch_stats)

        gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (value, (parts, batch_stats)), gradient = gradient_fn(learnt)
        updates, opt_state = tx.update(gradient, state.opt_state, learnt)
        metrics = {
            "loss": value,
            **parts,
            "gradient_norm": optax.tree.norm(gradient),
        }
        return TrainState(
            step=state.step + 1,
            params=joined(cast(Tree, optax.apply_updates(learnt, updates)), still),
            batch_stats=batch_stats,
            opt_state=opt_state,
        ), metrics

    return update
