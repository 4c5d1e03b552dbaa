"""The contrastive losses over the global batch: NT-Xent and the MMGR pair of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgr_jax.errors import check_choice
from mmgr_jax.typing import ExampleMask, Scalar

EMPTY_SETS = ("excluded", "repel")

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
    *,
    temperature: float,
    image_weight: float,
    symmetric: bool = False,
    empty_sets: str = "excluded",
    temperature_factor: Scalar | None = None,
    example_mask: ExampleMask | None = None,
    poi_empty: ExampleMask | None = None,
) -> tuple[Scalar, dict[str, Scalar]]:
    """The weighted sum of the image-POI and the image-image contrastive loss.

    Args:
        z_image: Projections of the two views of each tile.
        z_poi: Projections of each region's POI set.
        temperature: Tau of both losses, above 0; 0.5 as released.
        image_weight: Lambda in [0, 1], the share of the image-image loss; 0.5 as
            released.
        symmetric: Let view 2 meet the POIs too and average the two losses. The
            released code compares view 1 alone with the POIs.
        empty_sets: "excluded": two regions without POIs are not each other's negatives
            wherever a POI row is involved. "repel": they are, as released.
        temperature_factor: A learnt factor of `temperature`; the product is kept at
            `LOWEST_TEMPERATURE` or above.
        example_mask: True for real examples, False for padding.
        poi_empty: True for regions without any POI.

    Returns:
        The loss and its parts `loss_inter` (image-POI) and `loss_intra`
        (image-image), all scalars in float32; with a learnt factor also
        `temperature`.

    Raises:
        InputError: If `empty_sets` is unknown.

    Reference: Bai et al. (2023), doi 10.1016/j.isprsjprs.2023.05.006.
    """
    check_choice("loss.empty_sets", empty_sets, EMPTY_SETS)
    tau = temperature
    if temperature_factor is not None:
        tau = jnp.maximum(temperature * temperature_factor, LOWEST_TEMPERATURE)
    views = z_image if symmetric else z_image[:1]
    inter = [
        nt_xent(
            z_view,
            z_poi,
            temperature=tau,
            example_mask=example_mask,
            b_empty=poi_empty if empty_sets == "excluded" else None,
        )
        for z_view in views
    ]
    loss_inter = sum(inter) / len(inter)
    loss_intra = nt_xent(
        z_image[0], z_image[1], temperature=tau, example_mask=example_mask
    )
    loss = (1.0 - image_weight) * loss_inter + image_weight * loss_intra
    parts = {"loss_inter": loss_inter, "loss_intra": loss_intra}
    if temperature_factor is not None:
        parts["temperature"] = tau
    return loss, parts


def nt_xent(
    z_a: Float[Array, "b p"],
    z_b: Float[Array, "b p"],
    *,
    temperature: float | Scalar,
    example_mask: ExampleMask | None = None,
    b_empty: ExampleMask | None = None,
) -> Scalar:
    """Mean NT-Xent loss over the 2b rows of [z_a; z_b], in float32.

    Row i has one positive, the other side of its region; all remaining rows,
    those of its own side included, are negatives.

    Args:
        z_a: One side, in any float type; need not be normalised.
        z_b: The other side, row for row the same regions.
        temperature: Tau, above 0.
        example_mask: False for padding, which is neither a row nor a column.
        b_empty: True where side b stands for an empty POI set. Two different
            regions with empty sets say the same thing there, so they are not each
            other's negatives wherever a b row is involved (a-b, b-a and b-b); the
            released code lets them repel each other.

    Returns:
        A scalar; 0 when no example is valid. Gradients are finite for any finite
        input, zero vectors included.

    Reference: Chen et al. (2020), SimCLR, algorithm 1 (arXiv 2002.05709).
    """
    b = z_a.shape[0]
    z = unit_rows(jnp.concatenate([z_a, z_b]))
    similarity = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST)
    logits = similarity / temperature

    valid = jnp.ones(b, bool) if example_mask is None else example_mask
    empty = jnp.zeros(b, bool) if b_empty is None else b_empty
    columns = _columns(valid, empty)
    log_sum = jax.nn.logsumexp(jnp.where(columns, logits, EXCLUDED), axis=1)
    positive = jnp.concatenate([jnp.diagonal(logits, b), jnp.diagonal(logits, -b)])

    rows = jnp.tile(valid, 2)
    total = jnp.sum(jnp.where(rows, log_sum - positive, 0.0))
    return total / jnp.maximum(jnp.sum(rows), 1)


def unit_rows(z: Float[Array, "r p"]) -> Float[Array, "r p"]:
    """Rows scaled to length 1 in float32; a zero row stays zero, gradient too."""
    z = z.astype(jnp.float32)
    squared = jnp.sum(z * z, axis=1, keepdims=True)
    has_direction = squared > SHORTEST_NORM**2
    inverse = jax.lax.rsqrt(jnp.where(has_direction, squared, 1.0))
    return z * jnp.where(has_direction, inverse, 0.0)


def _columns(valid: Bool[Array, " b"], empty: Bool[Array, " b"]) -> Bool[Array, "z z"]:
    """Which columns the denominator of each of the 2b rows sums over."""
    b = valid.shape[0]
    other_region = ~jnp.eye(b, dtype=bool)
    both_empty = empty[:, None] & empty[None, :]
    across = ~(both_empty & other_region)
    quadrants = jnp.block([[other_region, across], [across, other_region & across]])
    return quadrants & jnp.tile(valid, 2)[None, :]
