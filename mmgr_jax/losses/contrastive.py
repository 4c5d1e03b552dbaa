"""The contrastive losses over the global batch: NT-Xent and the loss of MMGR."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from mmgr_jax.losses import streaming
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.typing import ExampleMask, Scalar

# The sets that are compared: two views and the POIs.
POIS = 2
INTER_PAIRS = ((0, POIS), (1, POIS))
INTRA_PAIRS = ((0, 1),)

# CLIP's bound for a learnt temperature (arXiv 2103.00020, section 2.5).
LOWEST_TEMPERATURE = 0.01

# Stands for "not a column of this row". Finite, so that a row without any column
# has a finite log-sum-exp and a zero gradient where -inf would give NaN.
EXCLUDED = -1e30

# Vectors shorter than this have no direction: torch's threshold, but answered with
# a zero vector and a zero gradient instead of a gradient of 1e12.
SHORTEST_NORM = 1e-12


def mmgr_loss(
    z_image: Float[Array, "v=2 b p"],
    z_poi: Float[Array, "b p"],
    settings: LossSettings,
    *,
    mesh: Mesh | None = None,
    temperature_factor: Scalar | None = None,
    example_mask: ExampleMask | None = None,
    poi_empty: ExampleMask | None = None,
    city: Int[Array, " b"] | None = None,
) -> tuple[Scalar, dict[str, Scalar]]:
    """The weighted sum of the image-POI and the image-image contrastive loss.

    Args:
        z_image: Projections of the two views of each tile.
        z_poi: Projections of each region's POI set.
        settings: The section `loss`.
        mesh: Devices, with an axis `data` over which the batch is split. None for one
            device, or for "dense", which the compiler splits.
        temperature_factor: A learnt factor that multiplies the temperature. The product
            is never below `LOWEST_TEMPERATURE`.
        example_mask: True for real examples, False for padding.
        poi_empty: True for regions without any POI.
        city: Number of the city of each region, used if `settings.negatives` is "city":
            negatives are then of the same city. None if all regions are of one city.

    Returns:
        The loss and its parts `loss_inter` (image-POI) and `loss_intra`
        (image-image), all scalars in float32; with a learnt factor, also
        `temperature`.

    Reference: Bai et al. (2023), doi 10.1016/j.isprsjprs.2023.05.006.
    """
    tau = jnp.float32(settings.temperature)
    if temperature_factor is not None:
        tau = jnp.maximum(tau * temperature_factor, LOWEST_TEMPERATURE)
    poi_empty = poi_empty if settings.empty_sets == "excluded" else None
    city = city if settings.negatives == "city" else None
    pairs = INTER_PAIRS[: 2 if settings.symmetric else 1] + INTRA_PAIRS
    if settings.implementation == "dense":
        sets = [*z_image, z_poi]
        values = _dense(pairs, sets, tau, example_mask, poi_empty, city)
    else:
        values = _streamed(
            pairs,
            jnp.concatenate([z_image, z_poi[None]]),
            tau,
            example_mask,
            poi_empty,
            city,
            mesh,
            ring=settings.implementation == "ring",
            tile=settings.tile or _tile(mesh),
            matmul_dtype=jnp.dtype(settings.matmul_dtype),
        )
    *inter, loss_intra = values
    loss_inter = sum(inter) / len(inter)
    weight = settings.image_weight
    loss = (1.0 - weight) * loss_inter + weight * loss_intra
    parts = {"loss_inter": loss_inter, "loss_intra": loss_intra}
    if temperature_factor is not None:
        parts["temperature"] = tau
    return loss, parts


def _dense(
    pairs: Sequence[streaming.Pair],
    sets: Sequence[Float[Array, "b p"]],
    tau: Scalar,
    example_mask: ExampleMask | None,
    poi_empty: ExampleMask | None,
    city: Int[Array, " b"] | None,
) -> list[Scalar]:
    """NT-Xent of each pair of sets, each by all similarities at once."""
    return [
        nt_xent(
            sets[a],
            sets[b],
            temperature=tau,
            example_mask=example_mask,
            b_empty=poi_empty if b == POIS else None,
            city=city,
        )
        for a, b in pairs
    ]


def _tile(mesh: Mesh | None) -> int:
    """Regions along a side of a tile that suit devices: docs/notes/performance.md."""
    platform = mesh.devices.flat[0].platform if mesh else jax.default_backend()
    return 4096 if platform == "gpu" else 512


def _streamed(
    pairs: Sequence[streaming.Pair],
    z: Float[Array, "q b p"],
    tau: Scalar,
    example_mask: ExampleMask | None,
    poi_empty: ExampleMask | None,
    city: Int[Array, " b"] | None,
    mesh: Mesh | None,
    **options: Any,
) -> list[Scalar]:
    """NT-Xent of each pair of sets, the log-sums of each set shared among them."""
    b = z.shape[1]
    valid = jnp.ones(b, bool) if example_mask is None else example_mask
    empty = jnp.zeros(b, bool) if poi_empty is None else poi_empty
    z = unit_rows(z)
    ordered = sorted({(i, j) for pair in pairs for i in pair for j in pair})
    plan = streaming.Comparison(tuple(ordered), POIS, **options)
    log_sum = streaming.log_sums(z, tau, valid, empty, city, plan=plan, mesh=mesh)
    count = 2 * jnp.maximum(jnp.sum(valid), 1)

    def loss(a: int, b: int) -> Scalar:
        positive = jnp.sum(z[a] * z[b], axis=1) / tau
        rows = [
            jnp.logaddexp(*(log_sum[ordered.index((i, j))] for j in (a, b)))
            for i in (a, b)
        ]
        per_region = rows[0] + rows[1] - 2.0 * positive
        return jnp.sum(jnp.where(valid, per_region, 0.0)) / count

    return [loss(a, b) for a, b in pairs]


def nt_xent(
    z_a: Float[Array, "b p"],
    z_b: Float[Array, "b p"],
    *,
    temperature: float | Scalar,
    example_mask: ExampleMask | None = None,
    b_empty: ExampleMask | None = None,
    city: Int[Array, " b"] | None = None,
) -> Scalar:
    """Mean NT-Xent loss over the 2b rows of [z_a; z_b], in float32.

    Each row has one positive: the row of the same region on the other side. All other
    rows are negatives, also those of its own side.

    Args:
        z_a: One side, in any float type. It need not be normalised.
        z_b: The other side, with the same regions in the same order.
        temperature: Tau, above 0.
        example_mask: False for padding, which is neither a row nor a column.
        b_empty: True where the row of side b is an empty POI set. All empty sets are
            alike, so two regions with empty sets are not negatives of each other in any
            pair with a row of side b (a-b, b-a and b-b). In the released code they are.
        city: Number of the city of each region. Only rows of the same city are
            negatives of each other; None for all rows.

    Returns:
        A scalar; 0 if no example is valid. Gradients are finite for any finite input,
        also for zero vectors.

    Reference: Chen et al. (2020), SimCLR, algorithm 1 (arXiv 2002.05709).
    """
    b = z_a.shape[0]
    z = unit_rows(jnp.concatenate([z_a, z_b]))
    similarity = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST)
    logits = similarity / temperature

    valid = jnp.ones(b, bool) if example_mask is None else example_mask
    empty = jnp.zeros(b, bool) if b_empty is None else b_empty
    columns = _columns(valid, empty, city)
    log_sum = jax.nn.logsumexp(jnp.where(columns, logits, EXCLUDED), axis=1)
    positive = jnp.concatenate([jnp.diagonal(logits, b), jnp.diagonal(logits, -b)])

    rows = jnp.tile(valid, 2)
    total = jnp.sum(jnp.where(rows, log_sum - positive, 0.0))
    return total / jnp.maximum(jnp.sum(rows), 1)


def unit_rows(z: Float[Array, "*r p"]) -> Float[Array, "*r p"]:
    """Scales rows to length 1 in float32; a zero row stays zero, with gradient 0."""
    z = z.astype(jnp.float32)
    squared = jnp.sum(z * z, axis=-1, keepdims=True)
    has_direction = squared > SHORTEST_NORM**2
    inverse = jax.lax.rsqrt(jnp.where(has_direction, squared, 1.0))
    return z * jnp.where(has_direction, inverse, 0.0)


def _columns(
    valid: Bool[Array, " b"],
    empty: Bool[Array, " b"],
    city: Int[Array, " b"] | None = None,
) -> Bool[Array, "z z"]:
    """Which columns the denominator of each of the 2b rows sums over."""
    b = valid.shape[0]
    other_region = ~jnp.eye(b, dtype=bool)
    both_empty = empty[:, None] & empty[None, :]
    across = ~(both_empty & other_region)
    quadrants = jnp.block([[other_region, across], [across, other_region & across]])
    if city is not None:
        quadrants &= jnp.tile(city[:, None] == city[None, :], (2, 2))
    return quadrants & jnp.tile(valid, 2)[None, :]
