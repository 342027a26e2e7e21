"""What lies between BYOL's loss and SimCLR's: BYOL's distance and, by a weight, a log-sum-exp over negatives."""

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
    """BYOL's loss of both directions plus `negatives` times what the other images of the batch add to it in InfoNCE.

    With α the temperature, β the weight of the negatives and s the cosine of a prediction and a target, the direction from
    view 1 to view 2 of image i costs `2 - 2·s(p1_i, t2_i) + 2αβ·ln(sum over j != i of exp(s(p1_i, t1_j) / α) + sum over j
    of exp(s(p1_i, t2_j) / α))`, and the other direction the same with the views exchanged.

    At β = 0 the value is BYOL's, `byol(p1, t2) + byol(p2, t1)`. At β = 1 with the projections themselves as predictions
    and targets it is SimCLR's, `4 + 4α·nt_xent(z1, z2, temperature=α)`.

    Unlike `byol` this function stops no gradient, as SimCLR's flows into both: give targets of another network through
    `jax.lax.stop_gradient`. It holds all 2n x 2n cosines at once, but where β is a plain 0. A row of zeros is at BYOL's
    distance of 1 from every unit vector, which SimCLR's loss would have at 2.

    Args:
      prediction1: predictions of the first views; row i of all four arrays shows the same image. Need not be normalised.
      prediction2: predictions of the second views.
      target1: what is predicted of the first views.
      target2: what is predicted of the second views.
      negatives: β, in [0, 1].
      temperature: α, above 0. Both may be traced, with exact gradient.

    Returns:
      One loss an image [n]. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than four equal [n, d], a weight outside [0, 1], or a temperature that is not positive.
      TypeError: on arrays that are not floating-point.

    References:
      Grill et al. 2020, arXiv:2006.07733, equations 6 and 8 (appendix F.4), which is to be maximised, of one direction and
      without the constant. Table 5b takes α = 0.1, SimCLR's best; with a predictor and a target network table 18 finds 0.3
      and more better.
    """
    names = ("prediction1", "prediction2", "target1", "target2")
    arrays = [as_array(name, x) for name, x in zip(names, (prediction1, prediction2, target1, target2), strict=True)]
    for name, x in zip(names[1:], arrays[1:], strict=True):
        check_pair(names[0], arrays[0], name, x)
    check_probability("negatives", negatives)
    check_positive("temperature", temperature)
    p1, p2, t1, t2 = (l2_normalize(at_least_float32(x)) for x in arrays)
    # As `byol` has it: where the two agree nothing is lost to the subtraction of two numbers near 2.
    distances = jnp.sum((p1 - t2) ** 2, axis=-1) + jnp.sum((p2 - t1) ** 2, axis=-1)
    if is_concrete(negatives) and negatives == 0:
        return distances

    negatives, temperature = jnp.asarray(negatives, p1.dtype), jnp.asarray(temperature, p1.dtype)
    logits = dot(jnp.concatenate([p1, p2]), jnp.concatenate([t1, t2]).T) / temperature
    # A view's prediction of its own target is no pair at all.
    logits = jnp.where(jnp.eye(len(logits), dtype=bool), -jnp.inf, logits)
    partitions = jax.nn.logsumexp(logits, axis=1).reshape(2, -1).sum(axis=0)
    return distances + 2 * negatives * temperature * partitions
