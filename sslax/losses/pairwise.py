"""The losses that SimCLR compares NT-Xent with, which take negatives one by one: logistic, and the triplet with a margin."""

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
    """SimCLR's NT-Logistic: each pair of views is classified by itself as showing one image or two.

    For view i with partner j, `-log σ(s_ij) - mean over k of log σ(-s_ik)` with `s = cosine / temperature`, k running
    over the 2n - 2 views of other images.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      temperature: above 0; may be traced, and its gradient is exact. The paper tunes it among 0.1, 0.2, 0.5 and 1.
      normalize: take cosines. False uses plain inner products.
      semi_hard: of the negatives only the closest one that is farther than the partner counts, s_ik < s_ij. Where there
        is none, the negatives contribute 0.

    Returns:
      One loss a pair [n], in nats, the mean of both directions. float32, or float64 for float64 input. A single pair has no
      negatives, whose term is then 0. Memory is O(n²).

    Raises:
      ValueError: on other shapes than two equal [n, d], a temperature that is not positive, or plain inner products
        (`normalize=False`) over temperature that overflow; of traced arrays these come out as inf or NaN.
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
    """SimCLR's margin loss: each view's partner is to be more similar than every negative, by a margin.

    For view i with partner j, `mean over k of max(s_ik - s_ij + margin, 0)` with cosines s, k running over the 2n - 2
    views of other images. The gradient is 0 where the margin is kept, and where it is just reached.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      margin: at least 0, in units of the cosine; may be traced. The paper tunes it among 0, 0.4, 0.8 and 1.6.
      normalize: take cosines. False uses plain inner products.
      semi_hard: of the negatives only the closest one that is farther than the partner and within the margin counts,
        s_ij - margin < s_ik < s_ij. Where there is none, the loss of this direction is 0.

    Returns:
      One loss a pair [n], the mean of both directions. float32, or float64 for float64 input. A single pair has no
      negatives, and a loss of 0. Memory is O(n²).

    Raises:
      ValueError: on other shapes than two equal [n, d], a negative margin, or plain inner products (`normalize=False`) that
        overflow; of traced arrays these come out as inf or NaN.
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
    # relu rather than a maximum, whose gradient at equality is a half.
    counted = jax.nn.relu(logits - positive[:, None] + jnp.asarray(margin, logits.dtype))
    # Of those that are farther the closest is within the margin, or none is and the hinge is 0.
    losses = _of_hardest(counted, logits, positive, negative) if semi_hard else _mean_where(counted, negative)
    return losses.reshape(2, -1).mean(axis=0)


def _similarities(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], temperature: Float[Array, ""] | float, normalize: bool
) -> tuple[Float[Array, "m"], Float[Array, "m m"], Bool[Array, "m m"]]:
    """Each view's logit with its partner, its logits with all 2n views, and which of these are of other images."""
    z = jnp.stack([at_least_float32(z1), at_least_float32(z2)])
    if normalize:
        z = l2_normalize(z)
    else:
        check_products(z, temperature)
    # Both factors of an inner product carry half of 1/τ, as in nt_xent.
    z = (z * jax.lax.rsqrt(jnp.asarray(temperature, z.dtype))).reshape(-1, z.shape[-1])
    logits = dot(z, z.T)
    views = jnp.arange(len(z))
    # Out of the same matrix, so that a negative equal to the partner is as similar to the last bit.
    positive = logits[views, (views + len(z1)) % len(z)]
    negative = (views[:, None] - views[None, :]) % len(z1) != 0
    return positive, logits, negative


def _mean_where(values: Float[Array, "m m"], chosen: Bool[Array, "m m"]) -> Float[Array, "m"]:
    """Each row's mean over what is chosen, and 0 where nothing is; divided first, so that no sum can overflow."""
    count = jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return jnp.sum(jnp.where(chosen, values / count, 0), axis=1)


def _of_hardest(
    values: Float[Array, "m m"], logits: Float[Array, "m m"], positive: Float[Array, "m"], negative: Bool[Array, "m m"]
) -> Float[Array, "m"]:
    """Each row's value at its largest logit below the positive one, and 0 where no negative has one."""
    farther = negative & (logits < positive[:, None])
    hardest = jnp.argmax(jnp.where(farther, logits, -jnp.inf), axis=1)
    # Not a number is below nothing: times 0 it is seen all the same.
    return jnp.where(farther.any(axis=1), values[jnp.arange(len(values)), hardest], 0 * positive)
