"""Multi-head self-attention of a vision transformer, and the kernel that computes it."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.networks.positions import rotary_angles, rotate

Initial = Literal["release", "mae", "moco-v3"]


def weights(std: float, initial: Initial = "release", *, parts: int = 1) -> nn.initializers.Initializer:
    """Initial weights of a layer: N(0, std²) as in DINO's release, or Xavier's uniform, as in MAE's and MoCo v3's.

    A kernel holds `parts` layers with as many outputs as inputs side by side; MoCo v3's bounds are those of each part.
    """
    if initial == "release":
        # Torch's `trunc_normal_` truncates at the absolute values ±2, a hundred standard deviations here, so it is a normal.
        return nn.initializers.normal(std)
    # The variance is scale / mean(fan-in, fan-out), and the fan-out of all parts together is larger.
    scale = (1 + parts) / 2 if initial == "moco-v3" else 1.0
    return nn.initializers.variance_scaling(scale, "fan_avg", "uniform")


def each(dense: nn.Dense, x: Float[Array, "n t d"]) -> Float[Array, "n t o"]:
    """Apply `dense` to each token, as one matrix; on CPU the gradient of a product over two axes takes three times as long."""
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


def fused_attention(head_width: int, dtype: Any) -> Literal["xla", "cudnn"]:
    """The implementation of `jax.nn.dot_product_attention` to use here.

    cuDNN's fused kernel stores no attention maps. It supports half precision on NVIDIA GPUs from Ampere on, with head widths
    that are multiples of 8, up to 128.
    """
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    if jax.default_backend() != "gpu" or not half or head_width % 8 or head_width > 128:
        return "xla"
    # For AMD GPUs this is a name, such as gfx90a.
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return "cudnn" if capability.replace(".", "").isdigit() and float(capability) >= 8 else "xla"


def attend(
    q: Float[Array, "n t h c"],
    k: Float[Array, "n t h c"],
    v: Float[Array, "n t h c"],
    implementation: Literal["xla", "cudnn"],
) -> Float[Array, "n t h c"]:
    """Attention by `jax.nn.dot_product_attention`.

    jax refuses cuDNN's gradient for an odd number of tokens, as most ViTs have with [CLS]: a token is then added to which no
    other attends.
    """
    n, t = q.shape[:2]
    if implementation == "xla" or t % 2 == 0:
        return jax.nn.dot_product_attention(q, k, v, implementation=implementation)
    q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
    lengths = jnp.full(n, t, jnp.int32)
    y = jax.nn.dot_product_attention(
        q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation=implementation
    )
    return y[:, :t]


class Attention(nn.Module):
    """Multi-head self-attention; one Dense gives queries, keys and values, so that its bias is one-dimensional.

    With `grid` (rows, columns), the queries and keys of the patches have rotary positions, and keys have no bias. With `maps`,
    or in float64, the attention is computed explicitly, and with `maps` the attention maps are the second output. Otherwise the
    second output is None, and a fused kernel, if available, never stores whole maps.
    """

    heads: int
    bias: bool = True
    init_std: float = 0.02
    initial: Initial = "release"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], maps: bool = False, grid: tuple[int, int] | None = None
    ) -> tuple[Float[Array, "n t d"], Float[Array, "n heads t t"] | None]:
        n, t, d = x.shape
        width = d // self.heads
        start = partial(weights, self.init_std, self.initial)
        dense = partial(nn.Dense, dtype=self.dtype)
        qkv = each(dense(3 * d, use_bias=self.bias and grid is None, kernel_init=start(parts=3), name="qkv"), x)
        if self.bias and grid is not None:
            q_bias, v_bias = (self.param(name, nn.initializers.zeros, (d,)) for name in ("q_bias", "v_bias"))
            qkv = qkv + jnp.concatenate([q_bias, jnp.zeros(d), v_bias]).astype(self.dtype)[None, None]
        q, k, v = jnp.moveaxis(qkv.reshape(n, t, 3, self.heads, width), 2, 0)
        if grid is not None:
            angles = rotary_angles(grid, width)
            q, k = rotate(q, angles), rotate(k, angles)
        attention = None
        # `dot_product_attention` always computes its softmax in float32.
        if maps or q.dtype == jnp.float64:
            # Half-precision logits would be too coarse to exponentiate.
            logits = jnp.einsum("nqhc,nkhc->nhqk", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
            attention = jax.nn.softmax(logits * width**-0.5, axis=-1)
            y = jnp.einsum("nhqk,nkhc->nqhc", attention.astype(self.dtype), v)
            attention = attention if maps else None
        else:
            y = attend(q, k, v, fused_attention(width, self.dtype))
        return each(dense(d, kernel_init=start(), name="proj"), y.reshape(n, t, d)), attention
