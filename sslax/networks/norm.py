"""Batch normalisation fused with the residual addition and the ReLU after it, with a gradient that saves memory traffic.

On a GPU a normalisation takes the time of its memory reads and writes. The gradient from automatic differentiation writes the
masked cotangent and reads it three times. Here one pass computes both sums over the batch, and a second pass computes the
gradient; both read only the cotangent and the input.

Source: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1; the gradient is that of section 3. The statistics are those of
flax: the biased variance, computed as the mean of squares minus the squared mean, also in the running average.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class BatchNorm(nn.Module):
    """Batch normalisation, optionally followed by a residual addition and a ReLU.

    Parameters and running statistics have flax's names and are float32 for every dtype of the computation.

    Attributes:
      use_bias: whether to learn an offset.
      use_scale: whether to learn a scale.
      scale_init: initializer of the scale.
      momentum: weight of the old value in the running average; torch's "momentum 0.1" is 0.9 here.
      epsilon: added to the variance.
      views: number of views of each image in adjacent rows of a batch; in training each view is normalised by its own
        statistics, and the running average is updated with one view after another.
      dtype: dtype of the output.
    """

    use_bias: bool = True
    use_scale: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    momentum: float = 0.9
    epsilon: float = 1e-5
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n *size c"],
        train: bool,
        *,
        residual: Float[Array, "n *size c"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "n *size c"]:
        channels = x.shape[-1]
        ones = jnp.ones((channels,), jnp.float32)
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32) if self.use_scale else ones
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32) if self.use_bias else None
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        offset = jnp.zeros_like(scale) if bias is None else bias
        if not train:
            y = _Shape(x, 1).apply(x, running_mean.value[None], running_var.value[None], scale, offset, self.epsilon)
            return _finish(y, residual, relu, self.dtype)
        y, mean, var = _normalise(x, scale, offset, residual, self.epsilon, self.views, relu, jnp.dtype(self.dtype))
        if not self.is_initializing():
            for view in range(self.views):
                for running, new in ((running_mean, mean), (running_var, var)):
                    moved = self.momentum * running.value + (1 - self.momentum) * new[view]
                    running.value = moved.astype(running.value.dtype)
        return y


class _Shape:
    """The layout of views, positions and channels in an array [n · views, ..., c]."""

    def __init__(self, x: Array, views: int):
        self._rows, self._channels = x.shape[0], x.shape[-1]
        self._views, self._size = views, x.size // (x.shape[0] * x.shape[-1])

    @property
    def count(self) -> int:
        """The number of values in each mean."""
        return self._rows // self._views * self._size

    def total(self, x: Array) -> Float[Array, "views c"]:
        """Sums over the images and positions of each view, in two steps: the first reads the memory in order, the second sums
        a small array."""
        by_row = x.reshape(self._rows, self._size, self._channels).sum(axis=1)
        return by_row.reshape(-1, self._views, self._channels).sum(axis=0)

    def spread(self, x: Float[Array, "views c"], like: Array) -> Array:
        """Broadcast one number per view and channel to the shape of `like`."""
        rows = jnp.broadcast_to(x[None], (self._rows // self._views, self._views, self._channels))
        return jnp.broadcast_to(rows.reshape(self._rows, *[1] * (like.ndim - 2), self._channels), like.shape)

    def apply(self, x, mean, var, scale, offset, epsilon) -> Array:
        """`(x - mean) / √(var + ε) · scale + offset`, in float32 at least."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        factor = lax.rsqrt(var + epsilon) * scale[None]
        return (x - self.spread(mean, x)) * self.spread(factor, x) + self.spread(
            jnp.broadcast_to(offset[None], mean.shape), x
        )


def _finish(y: Array, residual: Array | None, relu: bool, dtype: Any) -> Array:
    y = y if residual is None else y + residual.astype(y.dtype)
    return (jnp.maximum(y, 0) if relu else y).astype(dtype)


def _reads_are_dear() -> bool:
    """Whether to recompute values instead of reading them from memory; False on CPU, where arithmetic is the bottleneck."""
    return jax.default_backend() != "cpu"


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def _normalise(x, scale, offset, residual, epsilon, views, relu, dtype):
    """The output, and the mean and variance of each view [views, c], which carry no gradient."""
    return _forward(x, scale, offset, residual, epsilon, views, relu, dtype)[0]


def _forward(x, scale, offset, residual, epsilon, views, relu, dtype):
    shape = _Shape(x, views)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = shape.total(wide) / shape.count
    var = jnp.maximum(shape.total(wide * wide) / shape.count - mean * mean, 0)
    y = _finish(shape.apply(x, mean, var, scale, offset, epsilon), residual, relu, dtype)
    # Without a residual, the backward pass can compute the sign of the output from the input, which it reads anyway.
    kept = y if relu and (residual is not None or not _reads_are_dear()) else None
    # An empty array carries the residual's dtype.
    like = None if residual is None else residual[:0]
    return (y, mean, var), (x, scale, offset, mean, var, kept, like)


def _backward(epsilon, views, relu, dtype, residuals, cotangents):
    """With g the cotangent masked by the ReLU and x̂ the normalised input, the gradients are: offset, Σ g; scale, Σ g x̂;
    input, scale / √(var + ε) · (g - mean(g) - x̂ mean(g x̂))."""
    x, scale, offset, mean, var, kept, like = residuals
    shape = _Shape(x, views)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    inverse = lax.rsqrt(var + epsilon)

    def passed(cotangent, x, kept):
        """g, in float32 at least, and x̂."""
        g = cotangent.astype(wide)
        if relu:
            sign = kept if kept is not None else shape.apply(x, mean, var, scale, offset, epsilon)
            g = jnp.where(sign > 0, g, 0)
        return g, (x.astype(wide) - shape.spread(mean, x)) * shape.spread(inverse, x)

    cotangent = cotangents[0]
    into_residual = None
    if like is not None:
        # Both branches need g, so it is written once.
        g, _ = passed(cotangent, x, kept)
        into_residual = g.astype(like.dtype)
        cotangent, kept, relu = into_residual, None, False
    g, normalised = passed(cotangent, x, kept)
    sums, products = shape.total(g), shape.total(g * normalised)
    # The barrier makes the second pass read the cotangent and the input again, instead of intermediates that the first pass
    # would have to write.
    if _reads_are_dear():
        cotangent, x, sums, products = lax.optimization_barrier((cotangent, x, sums, products))
    g, normalised = passed(cotangent, x, kept)
    centred = g - shape.spread(sums / shape.count, x) - normalised * shape.spread(products / shape.count, x)
    into_x = (centred * shape.spread(inverse * scale[None], x)).astype(x.dtype)
    into_scale, into_offset = (x.sum(axis=0).astype(scale.dtype) for x in (products, sums))
    return into_x, into_scale, into_offset, into_residual


_normalise.defvjp(_forward, _backward)
