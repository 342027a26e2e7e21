"""What the methods with a teacher's distribution over prototypes share: its temperature, its sharpening, and its metrics."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sslax.losses import sinkhorn_knopp
from sslax.numerics import log_softmax


def rising(start: float, end: Float[Array, ""] | float, points: int, place: Array | int) -> Array:
    """A linspace over `points` that includes both ends, then constant: the teacher's temperature by epoch or by step."""
    if points == 0:
        return jnp.asarray(end, jnp.float32)
    risen = jnp.clip(place / max(points - 1, 1), 0, 1)
    return jnp.where(place < points, start + risen * (end - start), end)


def log_targets(
    logits: Float[Array, "... k"],
    center: Float[Array, "k"],
    temperature: Float[Array, ""] | float,
    *,
    sinkhorn: int = 0,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "... k"]:
    """Logarithms of the distributions that the student is to match.

    Args:
      logits: the teacher's.
      center: subtracted first; zeros for no centring.
      temperature: of the teacher.
      sinkhorn: iterations of Sinkhorn-Knopp over all rows together, which replaces centring; 0 is a softmax of each row.
      where: True for the rows that Sinkhorn-Knopp assigns; None for all.
    """
    if not sinkhorn:
        return log_softmax(logits - center.reshape((1,) * (logits.ndim - 1) + (-1,)), temperature)
    rows, counted = logits.reshape(-1, logits.shape[-1]), None if where is None else where.reshape(-1)
    q = sinkhorn_knopp(rows, temperature=temperature, iterations=sinkhorn, where=counted)
    # An assignment can underflow to 0; clamping it to the smallest normal float keeps its logarithm finite.
    return jnp.log(jnp.maximum(q, jnp.finfo(q.dtype).tiny)).reshape(logits.shape)


def target_metrics(
    log_q: Float[Array, "... k"], cross_entropy: Float[Array, ""], weights: Float[Array, "..."] | None = None
) -> dict[str, Array]:
    """The metrics that show collapse (figure 7 of DINO's paper): cross-entropy = entropy of the target + KL.

    Args:
      log_q: logarithms of the target distributions.
      cross_entropy: the student's, with the same weights.
      weights: of the distributions, with sum 1; None weighs all alike.
    """
    q = jnp.exp(log_q)
    entropies = -(q * log_q).sum(axis=-1)
    if weights is None:
        entropy, mean = entropies.mean(), q.mean(axis=tuple(range(q.ndim - 1)))
    else:
        entropy, mean = (weights * entropies).sum(), jnp.tensordot(weights, q, weights.ndim, precision="highest")
    return {
        "target_entropy": entropy,
        "kl": jax.lax.stop_gradient(cross_entropy) - entropy,
        # 1/K if all dimensions are used equally, 1 if one dominates.
        "target_largest": mean.max(),
    }


def cls_metrics(log_q: Float[Array, "t n k"], loss: Float[Array, ""]) -> dict[str, Array]:
    """`target_metrics` of [CLS], its loss, and the entropy of a uniform target, where it is not the only loss."""
    named = {"cls_loss": jax.lax.stop_gradient(loss), "uniform_entropy": jnp.float32(math.log(log_q.shape[-1]))}
    return target_metrics(log_q, loss) | named


def patch_metrics(
    log_q: Float[Array, "... k"], loss: Float[Array, ""], weights: Float[Array, "..."]
) -> dict[str, Array]:
    """The same of patches, with "patch" before each name: their weights are 0 where they are not masked, with sum 1."""
    found = {"loss": jax.lax.stop_gradient(loss), "uniform_entropy": jnp.float32(math.log(log_q.shape[-1]))}
    return {f"patch_{name}": value for name, value in (target_metrics(log_q, loss, weights) | found).items()}
