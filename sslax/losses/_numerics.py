"""What several losses share: checks of what is concrete, float32 arithmetic, normalisation that cannot overflow."""

import math
from collections.abc import Hashable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

AxisName = Hashable | tuple[Hashable, ...]


def check_floating(name: str, x: Array, ndim: int) -> None:
    """Raise ValueError or TypeError unless `x` is a real floating array of `ndim` dimensions, none of them empty."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name} has dtype {x.dtype}; it must be a floating-point array.")
    if x.ndim != ndim:
        raise ValueError(f"{name} has shape {x.shape}; it must have {ndim} dimension{'s' if ndim > 1 else ''}.")
    if 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}; every dimension must be at least 1.")


def check_pair(name1: str, x1: Array, name2: str, x2: Array, ndim: int = 2) -> None:
    """Raise ValueError or TypeError unless both are real floating arrays of `ndim` dimensions and of one shape."""
    check_floating(name1, x1, ndim)
    check_floating(name2, x2, ndim)
    if x1.shape != x2.shape:
        raise ValueError(f"{name1} has shape {x1.shape} and {name2} has shape {x2.shape}; they must be the same.")


def check_positive(name: str, value: Array | float) -> None:
    """Raise ValueError unless a concrete `value` is a finite number above 0; a traced one cannot be checked."""
    if isinstance(value, jax.core.Tracer):
        return
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {float(value):g}; it must be a finite number above 0.")


def at_least_float32(x: Array) -> Array:
    """float16 and bfloat16 become float32, wider types stay: an exponential of a half-precision logit is useless."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def l2_normalize(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Rows of unit length, for rows of any finite magnitude; a zero row stays zero and gets a zero gradient.

    Rows are divided by their largest magnitude before anything is squared, so 1e30 does not overflow and 1e-30 does not
    vanish. That factor needs no gradient: the result does not depend on it.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    zero = largest == 0
    x = x / jnp.where(zero, 1, largest)
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    # The inner `where` keeps the square root's infinite slope at 0 out of the backward pass, where 0·∞ would be NaN.
    return jnp.where(zero, 0, x * jax.lax.rsqrt(jnp.where(zero, 1, squared)))
