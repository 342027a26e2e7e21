"""A loss between BYOL's and SimCLR's: BYOL's distance plus a weighted log-sum-exp over negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.checks import as_array, check_pair, check_positive, check_probability, is_concrete
from sslax.losses.blocks import dot
from sslax.numerics import at_least_float32, l2_normalize


def byol_contrastive(
    prediction1: Float[Array, "n d"],
    prediction2: Float[Array, "n d"],
    target1: Float[Array, "n d"],
    target2: Float[Array, "n d"],
    *,
    negatives: Float[Array, ""] | float,
    temperature: Float[Array, ""] | float = 0.1,
) -> Float[Array, "n"]:
    """BYOL's loss of both directions plus `negatives` times InfoNCE's repulsion from the batch.

    With α the temperature, β the weight of the negatives and s the cosine of a prediction and a target, the loss of image i
    from view 1 to view 2 is `2 - 2·s(p1_i, t2_i) + 2αβ·ln(sum over j != i of exp(s(p1_i, t1_j) / α) + sum over j of
    exp(s(p1_i, t2_j) / α))`. The other direction is the same with the views exchanged, and the two are added.

    At β = 0 the value is BYOL's, `byol(p1, t2) + byol(p2, t1)`. At β = 1 with the projections themselves as predictions
    and targets it is SimCLR's, `4 + 4α·nt_xent(z1, z2, temperature=α)`.

    Unlike `byol`, this function stops no gradient, because SimCLR's gradient flows into both sides. Pass the targets of
    another network through `jax.lax.stop_gradient`. All 2n x 2n cosines are in memory at once, unless β is a concrete 0. A
    row of zeros is at BYOL's distance of 1 from every unit vector; in SimCLR's loss it would be at 2.

    Args:
      prediction1: predictions of the first views; row i of all four arrays shows the same image. Need not be normalised.
      prediction2: predictions of the second views.
      target1: targets of the first views.
      target2: targets of the second views.
      negatives: β, in [0, 1].
      temperature: α, above 0. Both may be traced, with exact gradients.

    Returns:
      One loss per image [n]. float32, or float64 for float64 input.

    Raises:
      ValueError: unless all four arrays have the same shape [n, d], the weight is in [0, 1] and the temperature is positive.
      TypeError: on arrays that are not floating-point.

    References:
      Grill et al. 2020, arXiv:2006.07733, equations 6 and 8 (appendix F.4). The paper writes an objective to maximise, for one
      direction and without the constant. Table 5b uses α = 0.1, the best for SimCLR; with a predictor and a target network,
      0.3 and above are better (table 18).
    """
    names = ("prediction1", "prediction2", "target1", "target2")
    arrays = [as_array(name, x) for name, x in zip(names, (prediction1, prediction2, target1, target2), strict=True)]
    for name, x in zip(names[1:], arrays[1:], strict=True):
        check_pair(names[0], arrays[0], name, x)
    check_probability("negatives", negatives)
    check_positive("temperature", temperature)
    p1, p2, t1, t2 = (l2_normalize(at_least_float32(x)) for x in arrays)
    # As in `byol`: 2 - 2·cosine would lose digits to cancellation where prediction and target agree.
    distances = jnp.sum((p1 - t2) ** 2, axis=-1) + jnp.sum((p2 - t1) ** 2, axis=-1)
    if is_concrete(negatives) and negatives == 0:
        return distances

    negatives, temperature = jnp.asarray(negatives, p1.dtype), jnp.asarray(temperature, p1.dtype)
    logits = dot(jnp.concatenate([p1, p2]), jnp.concatenate([t1, t2]).T) / temperature
    # A view's prediction and the same view's target are not a pair.
    logits = jnp.where(jnp.eye(len(logits), dtype=bool), -jnp.inf, logits)
    partitions = jax.nn.logsumexp(logits, axis=1).reshape(2, -1).sum(axis=0)
    return distances + 2 * negatives * temperature * partitions
