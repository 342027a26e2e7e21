"""The weighted nearest-neighbour classifier, which evaluates features without training."""

import functools
import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from sslax.checks import as_array, check_choice, check_count, check_floating, check_labels, check_positive
from sslax.numerics import at_least_float32, l2_normalize

PROTOCOLS = {"knn1": (1, 0.07), "knn20": (20, 0.07), "knn200": (200, 0.1)}
"""k and temperature by name: DINO's protocol at 1 and 20 neighbours, lightly's benchmark at 200."""

# Maximum number of similarities in one block of queries: 32 MB of float32 on CPU, 256 MB on a device with its own memory.
_BLOCK_SIMILARITIES = {"cpu": 2**23}
_BLOCK_ELSEWHERE = 2**26
# Narrower features are padded with zeros, which change no cosine. Pixels of small images and features of a small network then
# share one compiled program.
_LEAST_WIDTH = 256


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
      features: features with known labels.
      labels: their labels, in [0, num_classes).
      num_classes: number of classes c.
      k: number of neighbours that vote; at most n.
      temperature: temperature of the weights, above 0.

    Returns:
      The summed votes [m, c]; their `argmax` is the prediction. At temperatures below about 1/75 the weights would overflow
      float32, so they are scaled to keep every sum at most exp(80); this changes no prediction.

    Raises:
      ValueError: on k outside [1, n], a temperature that is not positive, concrete labels out of range, or arrays that are
        empty or have shapes that do not match.
      TypeError: on features that are not floating-point or labels that are not integers.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; `eval_knn.py` of DINO's release.
    """
    return _votes(queries, features, labels, num_classes=num_classes, settings=[(k, temperature)])[0]


def knn_votes(
    queries: Float[Array, "m d"],
    features: Float[Array, "n d"],
    labels: Int[Array, "n"],
    *,
    num_classes: int,
    settings: Sequence[tuple[int, float | Float[Array, ""]]],
) -> tuple[Float[Array, "m c"], ...]:
    """`knn_scores` for several (k, temperature) at once; one program computes and sorts the similarities only once.

    Args:
      queries: as in `knn_scores`; so are `features`, `labels` and `num_classes`.
      settings: pairs of k and temperature, at least one.

    Returns:
      The votes [m, c] of each setting, in order.

    Raises:
      ValueError: as `knn_scores`, and on empty settings.
      TypeError: as `knn_scores`.
    """
    return _votes(queries, features, labels, num_classes=num_classes, settings=settings)


def _votes(queries, features, labels, *, num_classes, settings):
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
    if not settings:
        raise ValueError("settings is empty; it must have at least one pair of k and temperature.")
    for k, temperature in settings:
        check_count("k", k)
        if k > len(features):
            raise ValueError(f"k is {k}; it must lie between 1 and the number of features, which is {len(features)}.")
        check_positive("temperature", temperature)
    ks, temperatures = zip(*settings, strict=True)
    queries, features = _at_least_wide(queries), _at_least_wide(features)
    return _scores(queries, features, labels, temperatures, num_classes=num_classes, ks=ks)


def knn_accuracies(
    train: Float[np.ndarray | Array, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray | Array, "m d"],
    test_labels: Int[np.ndarray, "m"],
    *,
    num_classes: int,
    protocols: Iterable[str] = tuple(PROTOCOLS),
) -> dict[str, float]:
    """Accuracies in [0, 1] of kNN on `test`, by the names in `PROTOCOLS`.

    A protocol with more neighbours than training features is skipped.

    Raises:
      ValueError: on a name that is not in `PROTOCOLS`, and as `knn_scores`.
    """
    for name in protocols:
        check_choice("protocols", name, tuple(PROTOCOLS))
    settings = {name: PROTOCOLS[name] for name in protocols if PROTOCOLS[name][0] <= len(train)}
    if not settings:
        return {}
    arrays = jax.device_put(test), jax.device_put(train), jax.device_put(train_labels)
    votes = knn_votes(*arrays, num_classes=num_classes, settings=list(settings.values()))
    right = (np.asarray(scores).argmax(axis=1) == test_labels for scores in votes)
    return {name: float(found.mean()) for name, found in zip(settings, right, strict=True)}


def _at_least_wide(x: Float[Array, "n d"]) -> Float[Array, "n w"]:
    return jnp.pad(x, ((0, 0), (0, max(0, _LEAST_WIDTH - x.shape[1]))))


@functools.partial(jax.jit, static_argnames=("num_classes", "ks"))
def _scores(queries, features, labels, temperatures, *, num_classes, ks):
    m = len(queries)
    keys = l2_normalize(at_least_float32(features)).T

    def block(rows):
        cosines = jnp.matmul(rows, keys, precision=lax.Precision.HIGHEST)
        nearest, index = lax.top_k(cosines, max(ks))
        classes = labels[index]
        return tuple(vote(nearest[:, :k], classes[:, :k], t) for k, t in zip(ks, temperatures, strict=True))

    def vote(cosines, classes, temperature):
        largest = jnp.minimum(1 / temperature, 80 - math.log(cosines.shape[1]))
        # Rounding can bring a cosine above 1, which would overflow at a tiny temperature.
        votes = jnp.exp((jnp.minimum(cosines, 1) - 1) / temperature + largest)
        here = jnp.broadcast_to(jnp.arange(len(classes))[:, None], classes.shape)
        return jnp.zeros((len(classes), num_classes), votes.dtype).at[here, classes].add(votes)

    most = _BLOCK_SIMILARITIES.get(jax.default_backend(), _BLOCK_ELSEWHERE)
    size = min(m, max(1, most // len(features)))
    blocks = -(-m // size)
    rows = jnp.pad(l2_normalize(at_least_float32(queries)), ((0, blocks * size - m), (0, 0)))
    votes = lax.map(block, rows.reshape(blocks, size, -1))
    return tuple(x.reshape(blocks * size, num_classes)[:m] for x in votes)
