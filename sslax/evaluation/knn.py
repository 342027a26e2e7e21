"""The weighted nearest-neighbour classifier that features are judged by without training anything."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from sslax.checks import as_array, check_count, check_floating, check_labels, check_positive
from sslax.numerics import at_least_float32, l2_normalize

# Similarities of one block of queries: 2^23 float32 are 32 MB, whatever the number of queries.
_BLOCK_SIMILARITIES = 2**23


def knn_scores(
    queries: Float[Array, "m d"],
    features: Float[Array, "n d"],
    labels: Int[Array, "n"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float[Array, "m c"]:
    """Votes of the k nearest features by cosine, each weighted by exp(cosine / temperature).

    Args:
      queries: features to classify; need not be normalised.
      features: features of known label.
      labels: their classes, in [0, num_classes).
      num_classes: c.
      k: neighbours that vote; at most n.
      temperature: of the weights, above 0.

    Returns:
      The summed votes [m, c]; `argmax` predicts. At temperatures below about 1/75 the weights, which float32 cannot hold,
      are scaled so that no sum exceeds exp(80): no prediction changes.

    Raises:
      ValueError: on k outside [1, n], a temperature that is not positive, labels that are concrete and out of range, or arrays
        that are empty or do not fit each other.
      TypeError: on features that are not floating-point or labels that are not integers.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; `eval_knn.py` of DINO's release.
    """
    queries, features = as_array("queries", queries), as_array("features", features)
    labels = as_array("labels", labels)
    check_floating("queries", queries, 2)
    check_floating("features", features, 2)
    if queries.shape[1] != features.shape[1]:
        raise ValueError(
            f"queries has shape {queries.shape} and features {features.shape}; they must be [m, d] and [n, d]."
        )
    check_count("num_classes", num_classes)
    check_labels("labels", labels, count=len(features), of="features", num_classes=num_classes)
    check_count("k", k)
    if k > len(features):
        raise ValueError(f"k is {k}; it must lie between 1 and the number of features, which is {len(features)}.")
    check_positive("temperature", temperature)
    return _scores(queries, features, labels, temperature, num_classes=num_classes, k=k)


@functools.partial(jax.jit, static_argnames=("num_classes", "k"))
def _scores(queries, features, labels, temperature, *, num_classes, k):
    m = len(queries)
    keys = l2_normalize(at_least_float32(features)).T
    largest = jnp.minimum(1 / temperature, 80 - math.log(k))

    def block(rows):
        cosines = jnp.matmul(rows, keys, precision=lax.Precision.HIGHEST)
        nearest, index = lax.top_k(cosines, k)
        # Rounding brings a cosine above 1, which at a tiny temperature would overflow.
        votes = jnp.exp((jnp.minimum(nearest, 1) - 1) / temperature + largest)
        here = jnp.broadcast_to(jnp.arange(len(rows))[:, None], index.shape)
        return jnp.zeros((len(rows), num_classes), votes.dtype).at[here, labels[index]].add(votes)

    size = min(m, max(1, _BLOCK_SIMILARITIES // len(features)))
    blocks = -(-m // size)
    rows = jnp.pad(l2_normalize(at_least_float32(queries)), ((0, blocks * size - m), (0, 0)))
    return lax.map(block, rows.reshape(blocks, size, -1)).reshape(blocks * size, num_classes)[:m]
