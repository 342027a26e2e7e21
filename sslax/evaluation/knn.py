"""The weighted nearest-neighbour classifier that features are judged by without training anything."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

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
      The summed votes [m, c]; `argmax` predicts. Temperatures below 1/80, whose weights float32 cannot hold, have them scaled
      so that the largest possible one is exp(80): no prediction changes.

    Raises:
      ValueError: on k outside [1, n], a temperature that is not positive, or arrays that do not fit each other.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; `eval_knn.py` of DINO's release.
    """
    queries, features, labels = jnp.asarray(queries), jnp.asarray(features), jnp.asarray(labels)
    if queries.ndim != 2 or features.ndim != 2 or queries.shape[1] != features.shape[1]:
        raise ValueError(
            f"queries have shape {queries.shape} and features {features.shape}; they must be [m, d] and [n, d]."
        )
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels have shape {labels.shape}; they must be one for each of {len(features)} features.")
    if not 1 <= k <= len(features):
        raise ValueError(f"k is {k}; it must lie between 1 and the number of features, which is {len(features)}.")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0.")
    return _scores(queries, features, labels, temperature, num_classes=num_classes, k=k)


def _normalize(x: Array) -> Array:
    x = x.astype(jnp.float32)
    # Scaled before squaring, so that no finite feature overflows; a zero row has cosine 0 to everything.
    x = x / jnp.maximum(jnp.max(jnp.abs(x), axis=1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), jnp.finfo(jnp.float32).tiny)


@functools.partial(jax.jit, static_argnames=("num_classes", "k"))
def _scores(queries, features, labels, temperature, *, num_classes, k):
    m = len(queries)
    keys = _normalize(features).T

    def block(rows):
        cosines = jnp.matmul(rows, keys, precision=lax.Precision.HIGHEST)
        nearest, index = lax.top_k(cosines, k)
        votes = jnp.exp((nearest - 1) / temperature + jnp.minimum(1 / temperature, 80))
        here = jnp.broadcast_to(jnp.arange(len(rows))[:, None], index.shape)
        return jnp.zeros((len(rows), num_classes)).at[here, labels[index]].add(votes)

    size = min(m, max(1, _BLOCK_SIMILARITIES // len(features)))
    blocks = -(-m // size)
    rows = jnp.pad(_normalize(queries), ((0, blocks * size - m), (0, 0)))
    return lax.map(block, rows.reshape(blocks, size, -1)).reshape(blocks * size, num_classes)[:m]
