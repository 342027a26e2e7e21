"""Regularisers that spread a batch's features: DINOv2's KoLeo and LeJEPA's SIGReg."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_count, check_floating, check_positive
from sslax.losses.blocks import dot
from sslax.numerics import AxisName, at_least_float32, l2_normalize

# Added to each difference and to each distance, as in DINOv2's released code.
_KOLEO_EPSILON = 1e-8


def koleo(features: Float[Array, "n d"]) -> Float[Array, "n"]:
    """KoLeo: minus the logarithm of each row's distance to its nearest neighbour, after ℓ2-normalisation of the rows.

    Args:
      features: the rows of one batch. Any floating type; the arithmetic is float32 at least. DINOv2 applies the loss to each
        global crop separately.

    Returns:
      One value per row; the gradient reaches the row and its neighbour. A row that equals its neighbour has a large but
      finite value. float32, or float64 for float64 input.

    Raises:
      ValueError: on another shape than [n, d], or fewer than two rows.
      TypeError: on an array that is not floating-point.

    References:
      Sablayrolles et al. 2019, arXiv:1806.03198; Oquab et al. 2023, arXiv:2304.07193, section 4; the released
      `loss/koleo_loss.py`, with its 1e-8 in two places.
    """
    features = as_array("features", features)
    check_floating("features", features, 2)
    if len(features) < 2:
        raise ValueError(
            f"features has shape {features.shape}; there must be at least 2 rows, as each needs a neighbour."
        )
    z = l2_normalize(at_least_float32(features))
    similarity = lax.stop_gradient(dot(z, z.T))
    nearest = jnp.argmax(jnp.where(jnp.eye(len(z), dtype=bool), -2, similarity), axis=1)
    distance = jnp.sqrt(jnp.square(z - z[nearest] + _KOLEO_EPSILON).sum(axis=-1))
    return -jnp.log(distance + _KOLEO_EPSILON)


def sigreg(
    z: Float[Array, "n d"],
    directions: Float[Array, "d s"],
    *,
    knots: int = 17,
    limit: float = 3.0,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """SIGReg: how far one-dimensional projections of a batch are from a standard normal distribution (Epps and Pulley's test).

    The mean over directions of `n · ∫ |φ_n(t) - φ(t)|² φ(t) dt`, where φ_n is the empirical characteristic function of the
    projections and `φ(t) = exp(-t²/2)`. The integral over [-limit, limit] is a trapezoidal sum; the integrand is even.

    Args:
      z: the rows of one batch, such as one view's projections. Any floating type; the arithmetic is float32 at least.
      directions: unit vectors as columns, usually drawn anew in every step.
      knots: of the trapezoidal sum over [0, limit], at least 2.
      limit: largest frequency, above 0.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`. The characteristic function then covers the rows of all
        devices, and every device returns the loss of the whole batch. Under `shard_map` with `check_vma=True` differentiate
        the loss, or its `pmean`, which is the same. Under `pmap`, or with `check_vma=False`, differentiate the loss and `pmean`
        the gradients of the parameters. Both give the gradient of the whole batch on one device.

    Returns:
      One value per batch. float32, or float64 for float64 input.

    Raises:
      ValueError: on shapes that do not fit each other, too few knots, or a limit that is not positive.
      TypeError: on arrays that are not floating-point.

    References:
      Balestriero & LeCun 2025, arXiv:2511.08544, section 4 and Algorithm 1; lightly's `loss/lejepa_loss.py`.
    """
    z, directions = as_array("z", z), as_array("directions", directions)
    check_floating("z", z, 2)
    check_floating("directions", directions, 2)
    if z.shape[1] != directions.shape[0]:
        raise ValueError(f"z has {z.shape[1]} columns and directions {directions.shape[0]} rows; they must agree.")
    check_count("knots", knots, least=2)
    check_positive("limit", limit)
    z, directions = at_least_float32(z), at_least_float32(directions)
    frequencies = jnp.linspace(0, limit, knots, dtype=z.dtype)
    normal = jnp.exp(-jnp.square(frequencies) / 2)
    # Both halves of the even integrand at once: twice the trapezoid's weights.
    weights = jnp.full(knots, 2 * limit / (knots - 1), z.dtype).at[jnp.array([0, -1])].divide(2) * normal
    devices = 1 if axis_name is None else lax.psum(1, axis_name)

    # Cosines and sines of n · s · knots angles are computed again for the gradient, and not stored.
    @jax.checkpoint
    def characteristic(projections):
        angles = projections[:, :, None] * frequencies[None, None]
        parts = jnp.cos(angles).mean(axis=0), jnp.sin(angles).mean(axis=0)
        return parts if axis_name is None else lax.pmean(parts, axis_name)

    real, imaginary = characteristic(dot(z, directions))
    error = jnp.square(real - normal[None]) + jnp.square(imaginary)
    return len(z) * devices * (error * weights[None]).sum(axis=-1).mean()
