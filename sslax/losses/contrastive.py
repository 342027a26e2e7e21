"""Contrastive losses: NT-Xent, dense for small batches, blockwise with a custom gradient for large ones."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_count, check_pair, check_positive, is_concrete, value_range
from sslax.losses.blocks import dot, first_row, gather, over_blocks, rows_at_a_time
from sslax.numerics import AxisName, at_least_float32, l2_normalize


def nt_xent(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    *,
    temperature: Float[Array, ""] | float = 0.1,
    normalize: bool = True,
    axis_name: AxisName | None = None,
    block_size: int | None = None,
) -> Float[Array, "n"]:
    """SimCLR's normalised temperature-scaled cross-entropy: each view classifies its partner among all other views.

    For view i with partner j, `-log(exp(s_ij) / sum over k != i of exp(s_ik))` with `s = cosine / temperature`, over
    the 2n views of the batch.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      temperature: above 0; may be traced, and its gradient is exact.
      normalize: take cosines. False uses plain inner products (the paper's Table 5, "without ℓ2").
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`. `z1` and `z2` then hold this device's rows, and the rows of
        all devices along the axis are negatives. Under `shard_map` with `check_vma=True`, differentiate
        `pmean(loss.mean())`; under `pmap`, or with `check_vma=False`, differentiate the local mean and `pmean` the
        parameters' gradients. Both give the gradient of the whole batch on one device.
      block_size: rows of logits held at a time. None chooses by backend: dense for small batches (up to 512 pairs on
        CPU, 5,792 on GPU and TPU), blocks for large ones. Blocks keep memory at O(n · block_size), recompute the logits in
        the backward pass, and can be differentiated once, in reverse mode. A block of at least 2n rows uses the dense form,
        which is plain JAX.

    Returns:
      One loss per pair [n], in nats, the mean of both directions, so `.mean()` is the paper's mean over 2n views.
      float32, or float64 for float64 input.

    Raises:
      ValueError: unless both arrays have the same shape [n, d], the temperature and the block size are positive, and plain
        inner products (`normalize=False`) divided by the temperature do not overflow. Traced arrays are not checked for
        overflow; their loss is then inf or NaN.
      TypeError: on arrays that are not floating-point.

    References:
      Chen et al. 2020, arXiv:2002.05709, equation 1 and Algorithm 1. The released TensorFlow code's value is twice this
      one (it adds the two directions); `optax.losses.ntxent` agrees. The cosine of a row of zeros is undefined; here it is 0
      with every row.
    """
    z1, z2 = as_array("z1", z1), as_array("z2", z2)
    check_pair("z1", z1, "z2", z2)
    check_positive("temperature", temperature)
    if block_size is not None:
        check_count("block_size", block_size, what=", or None")

    z = jnp.stack([at_least_float32(z1), at_least_float32(z2)])
    if normalize:
        z = l2_normalize(z)
    else:
        check_products(z, temperature)
    # Both factors of an inner product are scaled by √(1/τ), so the gradient of τ needs no extra code.
    z = z * lax.rsqrt(jnp.asarray(temperature, z.dtype))

    rows = z.shape[0] * z.shape[1]
    keys = rows if axis_name is None else rows * lax.psum(1, axis_name)
    # Tiles use the symmetry to compute half of the products, one after another. With an axis, a device has only its own rows,
    # so the symmetry does not help.
    tiled = axis_name is None and jax.default_backend() == "cpu"
    block_size = block_size or rows_at_a_time(rows, keys, tiled=tiled)
    if block_size >= rows:
        losses = _dense_rows(z, axis_name)
    elif tiled:
        losses = _tiled_rows(z, block_size)
    else:
        losses = _blocked_rows(z, axis_name, block_size)
    return losses.mean(axis=0)


def check_products(z: Float[Array, "2 n d"], temperature: Float[Array, ""] | float) -> None:
    """Raise ValueError if inner products of rows of z (z1 and z2 stacked), divided by the temperature, overflow."""
    if is_concrete(z) and is_concrete(temperature):
        largest = max(map(abs, value_range(z)))
        if not largest**2 * z.shape[-1] / float(temperature) < float(jnp.finfo(z.dtype).max) or largest == np.inf:
            raise ValueError(
                f"z1 and z2 have values up to {largest:g}, whose inner products over a temperature of {float(temperature):g} "
                f"{z.dtype} cannot hold; normalize them, or scale them down."
            )


def _own_index(n: int, total: int, axis_name: AxisName | None) -> Array:
    """Indices of this device's 2n rows among the 2·total gathered rows, which are ordered by view, then by image."""
    start = first_row(n, axis_name)
    return (jnp.arange(2)[:, None] * total + start + jnp.arange(n)[None, :]).reshape(-1)


def _log_partition(queries: Array, keys: Array, own: Array) -> Array:
    """log-sum-exp of each query's logits over all keys except the query itself."""
    logits = dot(queries, keys.T)
    itself = jnp.arange(keys.shape[0])[None, :] == own[:, None]
    return jax.nn.logsumexp(jnp.where(itself, -jnp.inf, logits), axis=1)


def _positive_logits(z: Array) -> Array:
    """The logit of each pair, equal in both directions: [1, n], which broadcasts over both views."""
    return jnp.sum(z[0] * z[1], axis=-1)[None, :]


def _dense_rows(z: Array, axis_name: AxisName | None) -> Array:
    _, n, d = z.shape
    keys = gather(z, axis_name, axis=1)
    own = _own_index(n, keys.shape[1], axis_name)
    partition = _log_partition(z.reshape(-1, d), keys.reshape(-1, d), own)
    return partition.reshape(2, n) - _positive_logits(z)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _blocked_rows(z: Array, axis_name: AxisName | None, block_size: int) -> Array:
    return _blocked_forward(z, axis_name, block_size)[0]


def _blocked_forward(z, axis_name, block_size):
    _, n, d = z.shape
    gathered = gather(z, axis_name, axis=1)
    keys = gathered.reshape(-1, d)
    own = _own_index(n, gathered.shape[1], axis_name)
    partition = over_blocks(
        lambda queries, own: _log_partition(queries, keys, own), block_size, z.reshape(-1, d), own
    ).reshape(2, n)
    return partition - _positive_logits(z), (z, keys, partition)


def _blocked_backward(axis_name, block_size, residuals, cotangent):
    """A row's gradient as a query and as a key of all other rows, in one pass, because the logits are symmetric.

    With P the softmax and g the cotangents, row i gets `sum over j of (g_i P_ij + g_j P_ji) z_j` minus the gradient of the
    positive logits. Devices exchange only P's normalisers and g, two numbers per row; no gradient is summed over devices.
    """
    z, keys, partition = residuals
    _, n, d = z.shape
    everyone = gather(jnp.stack([partition, cotangent], axis=-1), axis_name, axis=1)
    total = everyone.shape[1]
    all_partition, all_cotangent = everyone.reshape(-1, 2).T

    def weighted_keys(queries, own, partition, cotangent):
        logits = dot(queries, keys.T)
        # A logit never exceeds either of its two normalisers, so neither exponential can overflow.
        weights = cotangent[:, None] * jnp.exp(logits - partition[:, None])
        weights += all_cotangent[None, :] * jnp.exp(logits - all_partition[None, :])
        itself = jnp.arange(2 * total)[None, :] == own[:, None]
        return dot(jnp.where(itself, 0, weights), keys)

    gradient = over_blocks(
        weighted_keys,
        block_size,
        z.reshape(-1, d),
        _own_index(n, total, axis_name),
        partition.reshape(-1),
        cotangent.reshape(-1),
    ).reshape(z.shape)
    return (gradient - cotangent.sum(axis=0)[None, :, None] * z[::-1],)


_blocked_rows.defvjp(_blocked_forward, _blocked_backward)


def _tiles(z: Array, side: int) -> tuple[Array, Array, tuple[Array, Array], Callable[[Array, Array], Array]]:
    """All rows, the rows in groups [g, side, d] padded with zeros, the pairs of groups (i, j) with i <= j, and a mask.

    Logits are symmetric, so one product per pair of groups serves both its rows and its columns. The mask function gives the
    valid logits of a tile: those of two different rows, neither of them padding.
    """
    rows = z.reshape(-1, z.shape[-1])
    count = rows.shape[0]
    groups = -(-count // side)
    padded = jnp.pad(rows, ((0, groups * side - count), (0, 0)))
    first, second = np.triu_indices(groups)

    def counts(i, j):
        row, column = i * side + jnp.arange(side)[:, None], j * side + jnp.arange(side)[None, :]
        return (row != column) & (row < count) & (column < count)

    return rows, padded.reshape(groups, side, -1), (jnp.asarray(first), jnp.asarray(second)), counts


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _tiled_rows(z: Array, side: int) -> Array:
    return _tiled_forward(z, side)[0]


def _tiled_forward(z, side):
    rows, groups, pairs, counts = _tiles(z, side)
    # Computed from `groups` instead of as a new constant, so that under shard_map it varies over the same mesh axes.
    lowest = groups[..., 0] * 0 + jnp.finfo(z.dtype).min

    def tile(partitions, pair):
        i, j = pair
        logits = jnp.where(counts(i, j), dot(groups[i], groups[j].T), -jnp.inf)
        partitions = partitions.at[i].set(jnp.logaddexp(partitions[i], jax.nn.logsumexp(logits, axis=1)))
        columns = jnp.logaddexp(partitions[j], jax.nn.logsumexp(logits, axis=0))
        # A diagonal tile contains each logit twice; its rows already count all of them.
        return partitions.at[j].set(jnp.where(i == j, partitions[j], columns)), None

    partitions, _ = lax.scan(tile, lowest, pairs)
    partition = partitions.reshape(-1)[: len(rows)].reshape(z.shape[:2])
    return partition - _positive_logits(z), (z, partition)


def _tiled_backward(side, residuals, cotangent):
    """As `_blocked_backward`; the weights are symmetric too, so each is used for both rows of its pair."""
    z, partition = residuals
    rows, groups, pairs, counts = _tiles(z, side)

    def grouped(x):
        x = x.reshape(-1)
        return jnp.pad(x, (0, groups.shape[0] * side - len(x))).reshape(-1, side)

    partitions, cotangents = grouped(partition), grouped(cotangent)

    def tile(gradient, pair):
        i, j = pair
        logits = dot(groups[i], groups[j].T)
        weights = cotangents[i][:, None] * jnp.exp(logits - partitions[i][:, None])
        weights += cotangents[j][None, :] * jnp.exp(logits - partitions[j][None, :])
        weights = jnp.where(counts(i, j), weights, 0)
        gradient = gradient.at[i].add(dot(weights, groups[j]))
        # In this order the product does not transpose the large factor.
        other = dot(groups[i].T, weights).T
        return gradient.at[j].add(jnp.where(i == j, 0, other)), None

    gradient, _ = lax.scan(tile, groups * 0, pairs)
    gradient = gradient.reshape(-1, z.shape[-1])[: len(rows)].reshape(z.shape)
    return (gradient - cotangent.sum(axis=0)[None, :, None] * z[::-1],)


_tiled_rows.defvjp(_tiled_forward, _tiled_backward)
