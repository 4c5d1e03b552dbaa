"""Log-sum-exp over all similarities of a global batch, without ever storing them.

Several sets of unit vectors (views, POIs) of the same N regions are split over the
devices of a mesh. For an ordered pair of sets (A, B) and each region i

    L[A, B, i] = log sum_j exp(s_ij),   s_ij = a_i . b_j / tau,   over admitted j

is all that the contrastive losses need in addition to the positives. Similarities exist
only in tiles, so memory grows like N, not N^2. With cotangents g of L the gradient is

    dz_i(A) = 1/tau sum_B sum_j (g[A,B,i] exp(s_ij - L[A,B,i])
                                 + g[B,A,j] exp(s_ij - L[B,A,j])) z_j(B)

because similarities are symmetric. So each device computes the gradient of its own
regions from the vectors, L and g of the others, and no gradient is sent.

The others' vectors come by one all-gather ("gathered"), or from neighbour to neighbour,
one device's share at a time ("ring"). A step has only three exchanges: the vectors, a
tag of each region, and (for the gradient) L with g.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from mmgr_jax.typing import Scalar

# Stands for the logarithm of an empty sum. It is finite, so that no gradient is NaN.
EXCLUDED = -1e30

Pair = tuple[int, int]
Sets = Float[Array, "q n p"]
LogSums = Float[Array, "k n"]
Axes = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Says which sets are compared, and how.

    Attributes:
        pairs: The k ordered pairs of sets, each with its mirror image.
        poi_set: Index of the set of POI vectors, in which two regions without POIs are
            not compared; None if there is no such set.
        ring: Pass vectors from device to device instead of gathering them.
        tile: Largest number of regions along each side of a tile of similarities.
        matmul_dtype: Type of the factors of products; sums are float32.
    """

    pairs: tuple[Pair, ...]
    poi_set: int | None
    ring: bool
    tile: int
    matmul_dtype: DTypeLike

    def mirror(self, k: int) -> int:
        """Returns the index of the mirror image of pair k."""
        a, b = self.pairs[k]
        return self.pairs.index((b, a))


class LossRows(NamedTuple):
    """Some of the regions, as rows or as columns of similarities.

    Attributes:
        z: Unit vectors of q sets [q n p].
        tag: Twice the place in the global batch, plus one if the POI set is empty [n];
            -1 for padding. If only regions of the same city are negatives, a second
            row has the number of the city [2 n], so that both are sent as one array.
        late: For the gradient: L of these regions as rows, then its cotangent [2k n].
    """

    z: Sets
    tag: Int[Array, "*two n"]
    late: Float[Array, "2k n"] | None = None

    @property
    def first_tag(self) -> Int[Array, " n"]:
        """Twice the place, plus one if the POI set is empty; -1 for padding."""
        return self.tag if self.tag.ndim == 1 else self.tag[0]

    @property
    def city(self) -> Int[Array, " n"] | None:
        """Number of the city; None if regions of all cities are compared."""
        return None if self.tag.ndim == 1 else self.tag[1]

    @property
    def place(self) -> Int[Array, " n"]:
        """Place in the global batch; -1 for padding."""
        return self.first_tag >> 1

    @property
    def empty(self) -> Bool[Array, " n"]:
        """Whether the POI set is empty."""
        return (self.first_tag & 1).astype(bool)

    @property
    def valid(self) -> Bool[Array, " n"]:
        """True for regions, False for padding."""
        return self.first_tag >= 0

    @property
    def log_sum(self) -> LogSums:
        """L of these regions as rows."""
        assert self.late is not None
        return self.late[: len(self.late) // 2]

    @property
    def weight(self) -> LogSums:
        """Cotangent of L."""
        assert self.late is not None
        return self.late[len(self.late) // 2 :]


Carry = Any
Step = Callable[[Carry, LossRows, LossRows], Carry]
"""(result of the tiles so far, rows, a tile of columns) -> result with this tile."""


def log_sums(
    z: Sets,
    temperature: Scalar,
    valid: Bool[Array, " n"],
    empty: Bool[Array, " n"],
    city: Int[Array, " n"] | None = None,
    *,
    plan: Comparison,
    mesh: Mesh | None = None,
) -> LogSums:
    """Computes L of each pair and region, in float32.

    A region is not compared with itself within one set, but it is between two sets.

    Args:
        z: Unit or zero vectors of q sets, n regions each.
        temperature: Tau, above 0.
        valid: False for padding: never a column, and as a row without meaning.
        empty: True for regions without POIs.
        city: Number of each region's city, if only its own city's regions are columns.
        plan: Which sets are compared, and how.
        mesh: Devices over all axes of which n is split; None for one device.

    Returns:
        L; `EXCLUDED` in rows without any column. It is differentiable in `z` and
        `temperature`.
    """
    if mesh is None:
        return _on_device(plan, (), z, temperature, valid, empty, city)
    axes = tuple(mesh.axis_names)
    split, split_sets = PartitionSpec(axes), PartitionSpec(None, axes)
    return jax.shard_map(
        partial(_on_device, plan, axes),
        mesh=mesh,
        in_specs=(split_sets, PartitionSpec(), split, split, split),
        out_specs=split_sets,
        check_vma=False,  # custom_vjp drops the types that this would check
    )(z, temperature, valid, empty, city)


def _on_device(
    plan: Comparison,
    axes: Axes,
    z: Sets,
    temperature: Scalar,
    valid: Bool[Array, " n"],
    empty: Bool[Array, " n"],
    city: Int[Array, " n"] | None,
) -> LogSums:
    """L of one device's regions; `axes` are the mesh's axes, () without a mesh."""
    n = len(valid)
    place = jnp.arange(n) + (jax.lax.axis_index(axes) * n if axes else 0)
    tag = jnp.where(valid, 2 * place + empty, -1)
    if city is not None:
        tag = jnp.stack([tag, city])

    @jax.custom_vjp
    def of(z: Sets, temperature: Scalar) -> LogSums:
        return forward(z, temperature)[0]

    def forward(z: Sets, temperature: Scalar) -> tuple[LogSums, tuple]:
        rows = LossRows(z.astype(plan.matmul_dtype), tag)
        columns = _bring(plan, axes, rows)
        sums = jnp.zeros((len(plan.pairs), n))
        start = (jnp.full_like(sums, EXCLUDED), sums)
        step = partial(_add_to_sums, plan, temperature)
        highest, total = _sweep(plan, axes, step, start, rows, columns)
        log_sum = jnp.where(total > 0, highest + jnp.log(total), EXCLUDED)
        return log_sum, (rows, columns, temperature, log_sum)

    def backward(saved: tuple, weight: LogSums) -> tuple[Sets, Scalar]:
        rows, columns, temperature, log_sum = saved
        late = jnp.concatenate([log_sum, weight])
        rows = rows._replace(late=late)
        columns = columns._replace(late=_gathered(plan, axes, late, 1))
        start = (jnp.zeros(rows.z.shape, jnp.float32), jnp.zeros((1, n)))
        step = partial(_add_to_gradient, plan, temperature)
        gradient, slope = _sweep(plan, axes, step, start, rows, columns)
        return gradient / temperature, -jnp.sum(slope) / temperature

    of.defvjp(forward, backward)
    return of(z, temperature)


def _bring(plan: Comparison, axes: Axes, own: LossRows) -> LossRows:
    """The columns that a device begins with: in a ring its own, otherwise all."""
    return _each(own, lambda leaf, axis, _: _gathered(plan, axes, leaf, axis))


def _gathered(plan: Comparison, axes: Axes, own: Array, axis: int) -> Array:
    if plan.ring or not axes:
        return own
    return jax.lax.all_gather(own, axes, axis=axis, tiled=True)


def _sweep(
    plan: Comparison,
    axes: Axes,
    step: Step,
    start: Carry,
    rows: LossRows,
    columns: LossRows,
) -> Carry:
    """Combines every tile of rows with every tile of columns, of all devices.

    Args:
        plan: Which sets are compared, and how.
        axes: Axes of the mesh; () without a mesh.
        step: Adds the result of a tile of columns to that of a tile of rows.
        start: Initial carry of all rows, arrays [k n] or [q n p]: regions in axis 1.
        rows: This device's regions.
        columns: The result of `_bring`.
    """
    n = rows.z.shape[1]
    num_devices = jax.lax.axis_size(axes) if axes else 1
    size, _ = _tile_size(rows, plan.tile)
    row_tiles = _each(rows, partial(_tiled, size=size))
    carry = jax.tree.map(lambda leaf: _tiled(leaf, 1, 0, size=size), start)

    def meet(carry: Carry, columns: LossRows) -> Carry:
        # Tiles are cut one by one: a copy of all tiles would double the memory.
        size, count = _tile_size(columns, plan.tile)
        columns = _each(columns, partial(_padded, size=size))

        def visit(carry: Carry, first: Int[Array, ""]) -> tuple[Carry, None]:
            cut = jax.lax.dynamic_slice_in_dim
            tile = _each(columns, lambda leaf, axis, _: cut(leaf, first, size, axis))
            work = lambda pair: step(pair[0], pair[1], tile)  # noqa: E731
            return jax.lax.map(work, (carry, row_tiles)), None

        return jax.lax.scan(visit, carry, size * jnp.arange(count))[0]

    def pass_on(state: tuple[Carry, LossRows], _: None) -> tuple[Any, None]:
        carry, columns = state
        carry = meet(carry, columns)
        around = [(i, (i + 1) % num_devices) for i in range(num_devices)]
        columns = jax.tree.map(lambda x: jax.lax.ppermute(x, axes, around), columns)
        return (carry, columns), None

    if plan.ring and num_devices > 1:
        carry = jax.lax.scan(pass_on, (carry, columns), length=num_devices)[0][0]
    else:
        carry = meet(carry, columns)
    return jax.tree.map(lambda leaf: _untiled(leaf, n), carry)


def _add_to_sums(
    plan: Comparison,
    temperature: Scalar,
    carry: Carry,
    rows: LossRows,
    columns: LossRows,
) -> Carry:
    """Adds one tile to the running maximum and sum of each row [k n]."""
    highest, total = [], []
    for k, pair in enumerate(plan.pairs):
        s = _similarities(plan, pair, temperature, rows, columns)
        admitted = _comparable(plan, pair, rows, columns) & columns.valid
        s = jnp.where(admitted, s, EXCLUDED)
        before, top = carry[0][k], jnp.maximum(carry[0][k], jnp.max(s, axis=1))
        share = jnp.where(admitted, jnp.exp(s - top[:, None]), 0.0)
        highest.append(top)
        total.append(carry[1][k] * jnp.exp(before - top) + jnp.sum(share, axis=1))
    return jnp.stack(highest), jnp.stack(total)


def _add_to_gradient(
    plan: Comparison,
    temperature: Scalar,
    carry: Carry,
    rows: LossRows,
    columns: LossRows,
) -> Carry:
    """Adds one tile to tau dL/dz [q n p] and, row by row, to -tau dL/dtau [1 n]."""
    gradient, slope = carry
    for k, (a, b) in enumerate(plan.pairs):
        s = _similarities(plan, (a, b), temperature, rows, columns)
        comparable = _comparable(plan, (a, b), rows, columns)
        mirror = plan.mirror(k)
        as_rows = jnp.exp(s - rows.log_sum[k][:, None]) * rows.weight[k][:, None]
        as_rows = jnp.where(comparable & columns.valid, as_rows, 0.0)
        as_columns = jnp.exp(s - columns.log_sum[mirror]) * columns.weight[mirror]
        as_columns = jnp.where(comparable & rows.valid[:, None], as_columns, 0.0)
        pull = (as_rows + as_columns).astype(plan.matmul_dtype)
        gradient = gradient.at[a].add(_product(plan, pull, columns.z[b]))
        slope += jnp.sum(as_rows * s, axis=1)
    return gradient, slope


def _similarities(
    plan: Comparison, pair: Pair, temperature: Scalar, rows: LossRows, columns: LossRows
) -> Float[Array, "r c"]:
    return _product(plan, rows.z[pair[0]], columns.z[pair[1]].T) / temperature


def _product(plan: Comparison, x: Array, y: Array) -> Array:
    exact = plan.matmul_dtype == jnp.float32
    precision = jax.lax.Precision.HIGHEST if exact else None
    return jnp.matmul(x, y, precision=precision, preferred_element_type=jnp.float32)


def _comparable(
    plan: Comparison, pair: Pair, rows: LossRows, columns: LossRows
) -> Bool[Array, "r c"]:
    """Marks pairs of regions whose similarity counts; symmetric in the two regions."""
    same = rows.place[:, None] == columns.place
    if pair[0] == pair[1]:
        comparable = ~same
    else:
        comparable = jnp.ones_like(same)
    if plan.poi_set in pair:
        comparable &= same | ~(rows.empty[:, None] & columns.empty)
    if rows.city is not None:
        comparable &= rows.city[:, None] == columns.city
    return comparable


def _tile_size(regions: LossRows, most: int) -> tuple[int, int]:
    """Size and number of equal tiles: as few as possible, each at most `most`."""
    n = regions.z.shape[1]
    count = -(-n // most)
    return -(-n // count), count


def _each(regions: LossRows, function: Callable[[Array, int, int], Array]) -> LossRows:
    """Applies `function` to each array, with its axis of regions and padding value."""
    return LossRows(
        z=function(regions.z, 1, 0),
        tag=function(regions.tag, regions.tag.ndim - 1, -1),
        late=None if regions.late is None else function(regions.late, 1, 0),
    )


def _padded(leaf: Array, axis: int, padding: int, *, size: int) -> Array:
    """Pads the regions to a multiple of `size`."""
    widths = [(0, 0)] * leaf.ndim
    widths[axis] = (0, -leaf.shape[axis] % size)
    return jnp.pad(leaf, widths, constant_values=padding)


def _tiled(leaf: Array, axis: int, padding: int, *, size: int) -> Array:
    """Splits regions into tiles along a new first axis; the last tile is padded."""
    leaf = _padded(leaf, axis, padding, size=size)
    leaf = leaf.reshape(*leaf.shape[:axis], -1, size, *leaf.shape[axis + 1 :])
    return jnp.moveaxis(leaf, axis, 0)


def _untiled(leaf: Array, n: int) -> Array:
    """The inverse of `_tiled` on an array of a carry."""
    leaf = jnp.moveaxis(leaf, 0, 1)
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])[:, :n]
