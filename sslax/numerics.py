"""Arithmetic that several rooms share: float32 at least, norms that cannot overflow, softmaxes at any temperature."""

from collections.abc import Hashable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

AxisName = Hashable | tuple[Hashable, ...]


def at_least_float32(x: Array) -> Array:
    """float16 and bfloat16 become float32, wider types stay: an exponential of a half-precision logit is useless."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


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


def unit_and_norm(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """A tensor of length 1 in the direction of the whole of `x`, and the length of `x`, in float32 at least; zeros of 0."""
    x = at_least_float32(x)
    largest = jnp.max(jnp.abs(x), initial=0)
    scaled = x / jnp.where(largest == 0, 1, largest)
    length = jnp.sqrt(jnp.sum(scaled * scaled))
    return scaled / jnp.where(length == 0, 1, length), largest * length


def shifted_logits(logits: Float[Array, "... k"], temperature: Float[Array, ""] | float) -> Float[Array, "... k"]:
    """(logits - their largest) / temperature: at most 0, the same softmax, and finite for all finite logits.

    As the largest is taken off first, no logit overflows at a small temperature; what is still below half of the least
    float32 is raised to it: its probability is 0 all the same. The largest needs no gradient, as no softmax depends on it.
    """
    below = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    lowest = lowest_logit(logits)
    return jnp.maximum(jnp.maximum(below, lowest) / temperature, lowest)


def log_softmax(logits: Float[Array, "... k"], temperature: Float[Array, ""] | float) -> Float[Array, "... k"]:
    """log softmax(logits / temperature), finite for all finite logits: a probability of 0 times -∞ would be NaN."""
    shifted = shifted_logits(logits, temperature)
    return jnp.maximum(shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True)), lowest_logit(shifted))


def lowest_logit(logits: Float[Array, "..."]) -> float:
    """Half of the least number of the array's type: a mean of such, rounded up, is still finite."""
    return float(jnp.finfo(logits.dtype).min / 2)
