"""The losses that SimCLR compares NT-Xent with, which use each negative separately: NT-Logistic and the margin triplet."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sslax.checks import as_array, check_at_least, check_pair, check_positive
from sslax.losses.blocks import dot
from sslax.losses.contrastive import check_products
from sslax.numerics import at_least_float32, l2_normalize


def nt_logistic(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    *,
    temperature: Float[Array, ""] | float = 0.5,
    normalize: bool = True,
    semi_hard: bool = False,
) -> Float[Array, "n"]:
    """SimCLR's NT-Logistic: a binary classification of each pair of views as the same image or two different images.

    For view i with partner j, `-log σ(s_ij) - mean over k of log σ(-s_ik)` with `s = cosine / temperature`, k running
    over the 2n - 2 views of other images.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      temperature: above 0; may be traced, and its gradient is exact. The paper tunes it among 0.1, 0.2, 0.5 and 1.
      normalize: take cosines. False uses plain inner products.
      semi_hard: use only the closest negative that is farther away than the partner, s_ik < s_ij. If there is no such
        negative, the negatives contribute 0.

    Returns:
      One loss per pair [n], in nats, the mean of both directions. float32, or float64 for float64 input. A single pair has
      no negatives; their term is then 0. Memory is O(n²).

    Raises:
      ValueError: unless both arrays have the same shape [n, d], the temperature is positive, and plain inner products
        (`normalize=False`) divided by the temperature do not overflow. Traced arrays are not checked for overflow; their
        loss is then inf or NaN.
      TypeError: on arrays that are not floating-point.

    References:
      Chen et al. 2020, arXiv:2002.05709, table 2, here with the sign of a loss, and section 5.1 for the mining (Schroff et
      al. 2015, arXiv:1503.03832). Deviation: the paper's comparison took negatives from one of the two views alone
      (appendix B.10), "for simplicity". A row of zeros counts as having cosine 0 to all.
    """
    z1, z2 = as_array("z1", z1), as_array("z2", z2)
    check_pair("z1", z1, "z2", z2)
    check_positive("temperature", temperature)
    positive, logits, negative = _similarities(z1, z2, temperature, normalize)
    counted = jax.nn.softplus(logits)
    repulsion = _of_hardest(counted, logits, positive, negative) if semi_hard else _mean_where(counted, negative)
    return (jax.nn.softplus(-positive) + repulsion).reshape(2, -1).mean(axis=0)


def margin_triplet(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    *,
    margin: Float[Array, ""] | float = 0.8,
    normalize: bool = True,
    semi_hard: bool = False,
) -> Float[Array, "n"]:
    """SimCLR's margin loss: each view's partner should be more similar than every negative, by at least a margin.

    For view i with partner j, `mean over k of max(s_ik - s_ij + margin, 0)` with cosines s, k running over the 2n - 2
    views of other images. The gradient is 0 where the margin is exceeded or exactly reached.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      margin: at least 0, in units of the cosine; may be traced. The paper tunes it among 0, 0.4, 0.8 and 1.6.
      normalize: take cosines. False uses plain inner products.
      semi_hard: use only the closest negative that is farther away than the partner and within the margin,
        s_ij - margin < s_ik < s_ij. If there is no such negative, the loss of this direction is 0.

    Returns:
      One loss per pair [n], the mean of both directions. float32, or float64 for float64 input. A single pair has no
      negatives and a loss of 0. Memory is O(n²).

    Raises:
      ValueError: unless both arrays have the same shape [n, d], the margin is at least 0, and plain inner products
        (`normalize=False`) do not overflow. Traced arrays are not checked for overflow; their loss is then inf or NaN.
      TypeError: on arrays that are not floating-point.

    References:
      Chen et al. 2020, arXiv:2002.05709, table 2, here with the sign of a loss, and section 5.1 for the mining (Schroff et
      al. 2015, arXiv:1503.03832). Deviation: the paper's comparison took negatives from one of the two views alone
      (appendix B.10), "for simplicity". A row of zeros counts as having cosine 0 to all.
    """
    z1, z2 = as_array("z1", z1), as_array("z2", z2)
    check_pair("z1", z1, "z2", z2)
    check_at_least("margin", margin)
    positive, logits, negative = _similarities(z1, z2, 1.0, normalize)
    # relu instead of jnp.maximum, which has a gradient of 1/2 at equality.
    counted = jax.nn.relu(logits - positive[:, None] + jnp.asarray(margin, logits.dtype))
    # Either the closest farther negative is within the margin, or none is and the hinge is 0.
    losses = _of_hardest(counted, logits, positive, negative) if semi_hard else _mean_where(counted, negative)
    return losses.reshape(2, -1).mean(axis=0)


def _similarities(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], temperature: Float[Array, ""] | float, normalize: bool
) -> tuple[Float[Array, "m"], Float[Array, "m m"], Bool[Array, "m m"]]:
    """Each view's logit with its partner, its logits with all 2n views, and a mask of the views of other images."""
    z = jnp.stack([at_least_float32(z1), at_least_float32(z2)])
    if normalize:
        z = l2_normalize(z)
    else:
        check_products(z, temperature)
    # Both factors of an inner product are scaled by √(1/τ), as in nt_xent.
    z = (z * jax.lax.rsqrt(jnp.asarray(temperature, z.dtype))).reshape(-1, z.shape[-1])
    logits = dot(z, z.T)
    views = jnp.arange(len(z))
    # From the same matrix, so that a negative equal to the partner has a bitwise equal logit.
    positive = logits[views, (views + len(z1)) % len(z)]
    negative = (views[:, None] - views[None, :]) % len(z1) != 0
    return positive, logits, negative


def _mean_where(values: Float[Array, "m m"], chosen: Bool[Array, "m m"]) -> Float[Array, "m"]:
    """Each row's mean over the chosen entries, or 0 for none; entries are divided first, so that the sum cannot overflow."""
    count = jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return jnp.sum(jnp.where(chosen, values / count, 0), axis=1)


def _of_hardest(
    values: Float[Array, "m m"], logits: Float[Array, "m m"], positive: Float[Array, "m"], negative: Bool[Array, "m m"]
) -> Float[Array, "m"]:
    """Each row's value at its largest negative logit below the positive one, or 0 if there is no such negative."""
    farther = negative & (logits < positive[:, None])
    hardest = jnp.argmax(jnp.where(farther, logits, -jnp.inf), axis=1)
    # A NaN logit compares below nothing; 0 * positive still propagates it.
    return jnp.where(farther.any(axis=1), values[jnp.arange(len(values)), hardest], 0 * positive)
