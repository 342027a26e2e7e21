"""InfoNCE between queries and keys of two networks, with a queue of more negatives where one is kept."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_count, check_floating, check_pair, check_positive
from sslax.losses.blocks import dot, first_row, gather, over_blocks, rows_at_a_time, split_blocks
from sslax.numerics import AxisName, at_least_float32, l2_normalize


def info_nce(
    query: Float[Array, "n d"],
    key: Float[Array, "n d"],
    *,
    temperature: Float[Array, ""] | float,
    negatives: Float[Array, "m d"] | None = None,
    axis_name: AxisName | None = None,
    block_size: int | None = None,
) -> Float[Array, "n"]:
    """InfoNCE: each query finds its own key among the keys of the whole batch, and among `negatives`.

    For query i, `-log(exp(s_ii) / sum over j of exp(s_ij))` with `s = cosine / temperature`, where j runs over all keys of
    the batch, the own key included, and over all rows of `negatives`. Other queries are no negatives.

    MoCo v3's loss is `2τ · (info_nce(q1, k2) + info_nce(q2, k1))` with `stop_gradient` on the keys. NNCLR's is
    `(info_nce(nn1, p2) + info_nce(nn2, p1)) / 2`, with the nearest neighbours as queries.

    Args:
      query: row i of `query` and row i of `key` belong together. Need not be normalised. Any floating type; the arithmetic
        is float32 at least.
      key: need not be normalised. Gradients flow into both arguments: use `jax.lax.stop_gradient` on what is only a target.
      temperature: above 0; may be traced, and its gradient is exact.
      negatives: more keys that match no query, such as a queue of earlier keys. Need not be normalised; gradients flow into
        them too. With `axis_name`, the same on all devices.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`; the keys are then those of all its devices, and the rows
        here are this device's. Under `shard_map` with `check_vma=True` differentiate `pmean(loss.mean())`; under `pmap`,
        or with `check_vma=False`, differentiate the local mean and `pmean` the parameters' gradients. Both give the
        gradient of the whole batch on one device.
      block_size: rows of logits held at a time. None decides by the backend, dense for small batches and blocks for large
        ones. Blocks keep memory at O((n + keys) · d + block_size · keys), recompute the logits in the backward pass, and can
        be differentiated once, in reverse mode. A block of at least n rows is the dense form, which is plain JAX.

    Returns:
      One loss a query [n], in nats, at least 0. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than two equal [n, d] and [m, d], or a temperature or block size that is not positive.
      TypeError: on arrays that are not floating-point.

    References:
      van den Oord et al. 2018, arXiv:1807.03748, equation 4; Chen et al. 2021 (MoCo v3), arXiv:2104.02057, Algorithm 1;
      Dwibedi et al. 2021 (NNCLR), arXiv:2104.14548, equation 2. Deviation: with a queue, He et al. 2020 (MoCo),
      arXiv:1911.05722, takes negatives from the queue alone; here the batch's other keys are negatives as well. A row of
      zeros, whose cosine is undefined, counts as having cosine 0 to all.
    """
    query, key = as_array("query", query), as_array("key", key)
    check_pair("query", query, "key", key)
    check_positive("temperature", temperature)
    if block_size is not None:
        check_count("block_size", block_size, what=", or None")
    more = None if negatives is None else _as_negatives(negatives, query.shape[1])

    dtype = jnp.result_type(at_least_float32(query), at_least_float32(key))
    # Both factors of an inner product carry half of 1/τ, so the gradient of τ needs no code of its own.
    half = lax.rsqrt(jnp.asarray(temperature, dtype))
    queries, own_keys = (l2_normalize(at_least_float32(x)) * half for x in (query, key))
    keys = gather(own_keys, axis_name)
    if more is not None:
        keys = jnp.concatenate([keys, (l2_normalize(at_least_float32(more)) * half).astype(dtype)])

    n = len(queries)
    block_size = block_size or rows_at_a_time(n, len(keys))
    if block_size >= n:
        return _cross_entropy(queries, keys, _own_index(n, axis_name))
    return _blocked_cross_entropy(queries, keys, axis_name, block_size)


def _as_negatives(negatives: Array, d: int) -> Array:
    negatives = as_array("negatives", negatives)
    check_floating("negatives", negatives, 2)
    if negatives.shape[1] != d:
        raise ValueError(f"negatives has shape {negatives.shape}; it must have {d} columns, as many as query and key.")
    return negatives


def _own_index(n: int, axis_name: AxisName | None) -> Array:
    """Where the keys of this device's queries stand among all keys."""
    return first_row(n, axis_name) + jnp.arange(n)


def _cross_entropy(queries: Array, keys: Array, own: Array) -> Array:
    """log-sum-exp of each query's logits less its own key's, out of one matrix, so that it is never below 0."""
    logits = dot(queries, keys.T)
    positive = jnp.take_along_axis(logits, own[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - positive


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _blocked_cross_entropy(queries: Array, keys: Array, axis_name: AxisName | None, block_size: int) -> Array:
    return _blocked_forward(queries, keys, axis_name, block_size)[0]


def _blocked_forward(queries, keys, axis_name, block_size):
    own = _own_index(len(queries), axis_name)
    losses = over_blocks(lambda queries, own: _cross_entropy(queries, keys, own), block_size, queries, own)
    return losses, (queries, keys, losses)


def _blocked_backward(axis_name, block_size, residuals, cotangent):
    """Softmax less one-hot, times keys for the queries and times queries for the keys, whose sum grows block by block."""
    queries, keys, losses = residuals
    columns = jnp.arange(len(keys))[None, :]

    def block(keys_gradient, rows):
        queries, own, losses, cotangent = rows
        logits = dot(queries, keys.T)
        positive = jnp.take_along_axis(logits, own[:, None], axis=1)
        # A logit never exceeds its normaliser, which is the loss and the own key's logit, so nothing can overflow.
        probabilities = jnp.exp(logits - (losses[:, None] + positive))
        weights = cotangent[:, None] * jnp.where(columns == own[:, None], probabilities - 1, probabilities)
        # Written this way round, the large factor of the product need not be transposed.
        return keys_gradient + dot(queries.T, weights).T, dot(weights, keys)

    rows = (queries, _own_index(len(queries), axis_name), losses, cotangent)
    # Multiplied out of `keys` rather than made anew: under shard_map it then differs between devices as they do.
    keys_gradient, queries_gradient = lax.scan(block, keys * 0, tuple(split_blocks(x, block_size) for x in rows))
    return queries_gradient.reshape(-1, queries.shape[1])[: len(queries)], keys_gradient


_blocked_cross_entropy.defvjp(_blocked_forward, _blocked_backward)
