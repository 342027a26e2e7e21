"""Multi-head self-attention of a vision transformer, and the kernel that computes it."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.networks.positions import rotary_angles, rotate

# Torch's `trunc_normal_` cuts at ±2 in absolute terms, a hundred of these deviations: it is a normal distribution.
weights = nn.initializers.normal


def each(dense: nn.Dense, x: Float[Array, "n t d"]) -> Float[Array, "n t o"]:
    """`dense` on each token. As one matrix: on CPU the gradient of a product over two axes takes three times as long."""
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


def fused_attention(head_width: int, dtype: Any) -> Literal["xla", "cudnn"]:
    """The implementation that `jax.nn.dot_product_attention` is to take here.

    cuDNN's fused kernel holds no attention maps in memory. It exists for half precision on NVIDIA's GPUs from Ampere on, and
    for heads whose width is a multiple of 8, up to 128.
    """
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    if jax.default_backend() != "gpu" or not half or head_width % 8 or head_width > 128:
        return "xla"
    # AMD's GPUs have names here, such as gfx90a.
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return "cudnn" if capability.replace(".", "").isdigit() and float(capability) >= 8 else "xla"


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come of one Dense, so that its bias is one-dimensional.

    With `grid` (rows, columns) the queries and keys of the patches have rotary positions, and keys have no bias. With `maps`
    the attention maps are a second output, from the explicit form, which float64 takes too. Without, the second output is None,
    and where a fused kernel exists the maps are never whole in memory.
    """

    heads: int
    bias: bool = True
    init_std: float = 0.02
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], maps: bool = False, grid: tuple[int, int] | None = None
    ) -> tuple[Float[Array, "n t d"], Float[Array, "n heads t t"] | None]:
        n, t, d = x.shape
        width = d // self.heads
        dense = partial(nn.Dense, kernel_init=weights(self.init_std), dtype=self.dtype)
        qkv = each(dense(3 * d, use_bias=self.bias and grid is None, name="qkv"), x)
        if self.bias and grid is not None:
            q_bias, v_bias = (self.param(name, nn.initializers.zeros, (d,)) for name in ("q_bias", "v_bias"))
            qkv = qkv + jnp.concatenate([q_bias, jnp.zeros(d), v_bias]).astype(self.dtype)[None, None]
        q, k, v = jnp.moveaxis(qkv.reshape(n, t, 3, self.heads, width), 2, 0)
        if grid is not None:
            angles = rotary_angles(grid, width)
            q, k = rotate(q, angles), rotate(k, angles)
        attention = None
        # `dot_product_attention` takes its softmax in float32, whatever the type.
        if maps or q.dtype == jnp.float64:
            # The exponentials of half-precision logits would be useless.
            logits = jnp.einsum("nqhc,nkhc->nhqk", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
            attention = jax.nn.softmax(logits * width**-0.5, axis=-1)
            y = jnp.einsum("nhqk,nkhc->nqhc", attention.astype(self.dtype), v)
            attention = attention if maps else None
        else:
            y = jax.nn.dot_product_attention(q, k, v, implementation=fused_attention(width, self.dtype))
        return each(dense(d, name="proj"), y.reshape(n, t, d)), attention
