"""Shared arithmetic: promotion to at least float32, norms that cannot overflow, softmaxes at any temperature."""

from collections.abc import Hashable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

AxisName = Hashable | tuple[Hashable, ...]


def at_least_float32(x: Array) -> Array:
    """Cast float16 and bfloat16 to float32 and keep wider types: half-precision logits are too coarse to exponentiate."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def l2_normalize(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Scale rows of any finite magnitude to unit length; a zero row stays zero and gets a zero gradient.

    Each row is divided by its largest magnitude before squaring, so 1e30 does not overflow and 1e-30 does not underflow.
    That factor needs no gradient, because the result does not depend on it.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    zero = largest == 0
    x = x / jnp.where(zero, 1, largest)
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    # The inner `where` keeps the square root's infinite slope at 0 out of the backward pass, where 0·∞ would be NaN.
    return jnp.where(zero, 0, x * jax.lax.rsqrt(jnp.where(zero, 1, squared)))


def unit_and_norm(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """The whole tensor `x` scaled to length 1, and its length, in float32 at least; an all-zero `x` gives zeros and 0."""
    x = at_least_float32(x)
    largest = jnp.max(jnp.abs(x), initial=0)
    scaled = x / jnp.where(largest == 0, 1, largest)
    length = jnp.sqrt(jnp.sum(scaled * scaled))
    return scaled / jnp.where(length == 0, 1, length), largest * length


def shifted_logits(logits: Float[Array, "... k"], temperature: Float[Array, ""] | float) -> Float[Array, "... k"]:
    """(logits - max(logits)) / temperature: at most 0, with the same softmax, and finite for all finite logits.

    The maximum is subtracted first, so no logit overflows at a small temperature. Results below `lowest_logit` are raised to
    it; their probability is 0 in either case. The maximum needs no gradient, because the softmax does not depend on it.
    """
    below = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    lowest = lowest_logit(logits)
    return jnp.maximum(jnp.maximum(below, lowest) / temperature, lowest)


def log_softmax(logits: Float[Array, "... k"], temperature: Float[Array, ""] | float) -> Float[Array, "... k"]:
    """log softmax(logits / temperature), finite for all finite logits: a probability of 0 times -∞ would be NaN."""
    shifted = shifted_logits(logits, temperature)
    return jnp.maximum(shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True)), lowest_logit(shifted))


def lowest_logit(logits: Float[Array, "..."]) -> float:
    """Half of the lowest finite number of the array's dtype, so that a mean of such values stays finite despite rounding."""
    return float(jnp.finfo(logits.dtype).min / 2)
