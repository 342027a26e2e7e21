"""Principal components of features."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.checks import as_array, check_count, check_floating
from sslax.numerics import at_least_float32


class PrincipalComponents(NamedTuple):
    """The directions of largest variance of features; `(x - mean) @ components.T` are the coordinates of features x.

    Attributes:
      mean: [d] mean of the features.
      components: [k, d] orthonormal directions, the one of largest variance first.
      std: [k] standard deviation (n - 1) of the features along each direction.
    """

    mean: Float[Array, "d"]
    components: Float[Array, "k d"]
    std: Float[Array, "k"]


def principal_components(features: Float[Array, "n d"], *, count: int = 3) -> PrincipalComponents:
    """The first `count` principal components of features, from the singular values of the centred features.

    The sign of each component is such that its entry of largest magnitude is positive, so the result is deterministic.

    Args:
      features: one row per sample, of any finite magnitude.
      count: number of components, at most n and at most d.

    Raises:
      ValueError: on other than two dimensions, fewer than two rows, or too many components.
      TypeError: on features that are not floating-point.

    Source: Jolliffe 2002, "Principal Component Analysis", section 3.5.
    """
    features = as_array("features", features)
    check_floating("features", features, 2)
    n, d = features.shape
    if n < 2:
        raise ValueError(f"features has shape {features.shape}; it must have at least 2 rows to have a spread.")
    check_count("count", count)
    if count > min(n, d):
        raise ValueError(f"count is {count}; it must be at most {min(n, d)} for features of shape {features.shape}.")
    x = at_least_float32(features)
    # Scaled so that squares neither overflow nor underflow.
    largest = jnp.max(jnp.abs(x))
    scale = jnp.where(largest == 0, 1, largest)
    x = x / scale
    # Twice, because the rounding of the first mean would remain as an offset of all rows.
    mean = x.mean(axis=0)
    rest = (x - mean[None]).mean(axis=0)
    x = x - mean[None] - rest[None]
    # The singular values and right vectors of R are those of the features: R is only [d, d]. A covariance matrix would
    # square them, and with them the rounding error.
    _, values, rows = jnp.linalg.svd(jnp.linalg.qr(x, mode="r"), full_matrices=False)
    components = rows[:count]
    extreme = jnp.take_along_axis(components, jnp.abs(components).argmax(axis=1, keepdims=True), axis=1)
    components = jnp.where(extreme < 0, -components, components)
    return PrincipalComponents((mean + rest) * scale, components, values[:count] / (n - 1) ** 0.5 * scale)
