"""Vision transformers as DINO's release has them.

Images are float [n, h, w, c] of any height and width that the patch divides; features are the last norm's [CLS] token
[n, d], float32. Source: Dosovitskiy et al. 2021, arXiv:2010.11929; Caron et al. 2021, arXiv:2104.14294, and the released
`vision_transformer.py` for initialisation, drop-path and the resizing of positions.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Torch's `trunc_normal_` cuts at ±2 in absolute terms, a hundred of these deviations: it is a normal distribution.
_weights = nn.initializers.normal
LayerNorm = partial(nn.LayerNorm, epsilon=1e-6)


def _each(dense: nn.Dense, x: Float[Array, "n t d"]) -> Float[Array, "n t o"]:
    """`dense` on each token. As one matrix: on CPU the gradient of a product over two axes takes three times as long."""
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


class ViTOutputs(NamedTuple):
    """What a vision transformer makes of images beside its features.

    Attributes:
      features: [n, d] the last norm's [CLS] token.
      tokens: [n, t, d] all tokens after the last norm, [CLS] first, then the patches row by row.
      class_tokens: [blocks, n, d] the [CLS] token after each block, each through the last norm: DINO's linear probe
        concatenates the last four of a ViT-S.
      attention: [n, heads, t, t] of the last block, rows sum to one.
    """

    features: Float[Array, "n d"]
    tokens: Float[Array, "n t d"]
    class_tokens: Float[Array, "blocks n d"]
    attention: Float[Array, "n heads t t"]


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

    With `maps` the attention maps come as a second output, from the explicit form, which float64 takes too; without, they are
    never whole in memory where a fused kernel exists, and the second output is None.
    """

    heads: int
    init_std: float = 0.02
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], maps: bool = False
    ) -> tuple[Float[Array, "n t d"], Float[Array, "n heads t t"] | None]:
        n, t, d = x.shape
        width = d // self.heads
        dense = partial(nn.Dense, kernel_init=_weights(self.init_std), dtype=self.dtype)
        qkv = _each(dense(3 * d, name="qkv"), x).reshape(n, t, 3, self.heads, width)
        q, k, v = jnp.moveaxis(qkv, 2, 0)
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
        return _each(dense(d, name="proj"), y.reshape(n, t, d)), attention


class DropPath(nn.Module):
    """Stochastic depth: an image's whole residual branch is dropped with probability `rate`, the kept ones scaled up.

    Source: Huang et al. 2016, arXiv:1603.09382. Draws from the stream "drop_path" of random numbers.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"], train: bool) -> Float[Array, "n t d"]:
        if not train or self.rate == 0:
            return x
        kept = jax.random.bernoulli(self.make_rng("drop_path"), 1 - self.rate, (x.shape[0], 1, 1))
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


class Block(nn.Module):
    """Attention and a two-layer MLP, each after a norm and beside an identity."""

    heads: int
    mlp_ratio: float
    drop_path: float
    init_std: float = 0.02
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"], train: bool, maps: bool = False) -> tuple[Float[Array, "n t d"], Any]:
        width = x.shape[-1]
        norm = partial(LayerNorm, dtype=self.dtype)
        dense = partial(nn.Dense, kernel_init=_weights(self.init_std), dtype=self.dtype)
        drop = partial(DropPath, self.drop_path)
        y, attention = Attention(self.heads, self.init_std, self.dtype, name="attn")(norm(name="norm1")(x), maps)
        x = x + drop(name="drop1")(y, train)
        y = _each(dense(int(width * self.mlp_ratio), name="fc1"), norm(name="norm2")(x))
        y = _each(dense(width, name="fc2"), nn.gelu(y, approximate=False))
        return x + drop(name="drop2")(y, train), attention


class ViT(nn.Module):
    """A vision transformer without its classifier.

    Attributes:
      image_size: side of the images that the positions are made for, pixels; others are resized from them.
      patch_size: side of a patch, pixels.
      width: of the tokens.
      depth: blocks.
      heads: of the attention; divides `width`.
      mlp_ratio: hidden width of the MLPs, in widths.
      drop_path: of the last block in training; rises linearly from 0 in the first.
      init_std: of the weights of attention and MLPs at the start; the release's .02 suits widths of hundreds.
      positions: how positions are resized for other resolutions: "dino" as the release, to a scale a tenth of a patch too
        large, "size" to the grid itself, as timm and later code do.
      remat: keep only the blocks' inputs for the gradient, and compute what is inside again.
      dtype: of the computation; parameters, softmaxes and features are float32.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    init_std: float = 0.02
    positions: str = "dino"
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], train: bool = False, *, outputs: bool = False
    ) -> Float[Array, "n d"] | ViTOutputs:
        """Features [n, d] of images, or with `outputs` all of `ViTOutputs`.

        Raises ValueError for images that the patch does not divide and a width that the heads do not.
        """
        n, height, width, _ = x.shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"images are {height} x {width} pixels; both must be multiples of patch_size, {self.patch_size}."
            )
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}; it must be a multiple of heads, {self.heads}.")
        grid = height // self.patch_size, width // self.patch_size
        side = self.image_size // self.patch_size
        patches = _to_patches(x.astype(self.dtype), self.patch_size)
        # Torch's default for a convolution, which the release leaves as it is: uniform within ±1/√fan-in.
        bound = patches.shape[-1] ** -0.5
        embed = nn.Dense(
            self.width,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            bias_init=lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound),
            dtype=self.dtype,
            name="patch_embed",
        )
        x = _each(embed, patches)
        # Both are [1, ·, d], so that they count as kernels: DINO decays them.
        cls = self.param("cls_token", _weights(0.02), (1, 1, self.width))
        pos = self.param("pos_embed", _weights(0.02), (1, 1 + side * side, self.width))
        x = jnp.concatenate([jnp.broadcast_to(cls.astype(self.dtype), (n, 1, self.width)), x], axis=1)
        x = x + resize_positions(pos, side, grid, how=self.positions).astype(self.dtype)

        norm = LayerNorm(dtype=self.dtype, name="norm")
        wide = jnp.promote_types(self.dtype, jnp.float32)
        class_tokens, attention = [], jnp.zeros(0)
        block = nn.remat(Block, static_argnums=(2, 3)) if self.remat else Block
        for index in range(self.depth):
            rate = self.drop_path * index / max(self.depth - 1, 1)
            x, attention = block(self.heads, self.mlp_ratio, rate, self.init_std, self.dtype, name=f"block{index + 1}")(
                x, train, outputs and index == self.depth - 1
            )
            class_tokens.append(x[:, 0])
        if not outputs:
            # The norm takes each token by itself: [CLS] is all that is needed.
            return norm(x[:, 0]).astype(wide)
        tokens = norm(x).astype(wide)
        return ViTOutputs(tokens[:, 0], tokens, norm(jnp.stack(class_tokens)).astype(wide), attention)


def _to_patches(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n t p"]:
    """Patches row by row, each flattened row by row with its channels last: an embedding is then one matrix product."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // size, size, width // size, size, channels)
    return x.swapaxes(2, 3).reshape(n, (height // size) * (width // size), size * size * channels)


def resize_positions(
    positions: Float[Array, "1 t d"], side: int, grid: tuple[int, int], *, how: str = "dino"
) -> Float[Array, "1 u d"]:
    """Position embeddings of a `side` x `side` grid, [CLS] first, for another grid (rows, columns); [CLS] has its own.

    Bicubic with torch's a = -0.75 and without antialiasing. With `how="dino"` the grid is sampled at a scale of
    `(cells + 0.1) / side`, as DINO's release does to be safe from rounding, not at `cells / side` (`how="size"`): with
    released weights the two differ by far more than rounding.

    Raises:
      ValueError: on other ways than these.
    """
    if how not in ("dino", "size"):
        raise ValueError(f'how is {how!r}; it must be "dino" or "size".')
    if grid == (side, side):
        return positions
    _, _, width = positions.shape
    extra = 0.1 if how == "dino" else 0.0
    patches = jax.image.scale_and_translate(
        positions[0, 1:].reshape(side, side, width),
        (*grid, width),
        (0, 1),
        scale=jnp.asarray([(cells + extra) / side for cells in grid]),
        translation=jnp.zeros(2),
        method="cubic-pytorch",
        antialias=False,
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.concatenate([positions[:, :1], patches.reshape(1, -1, width)], axis=1)


vit_tiny = partial(ViT, width=192, depth=12, heads=3)
vit_small = partial(ViT, width=384, depth=12, heads=6)
vit_base = partial(ViT, width=768, depth=12, heads=12)
# Small enough for two CPU cores at the few tokens of small images.
# Weights of .02 would hardly change 64 channels, and all images would look alike to a loss that compares them.
vit_micro = partial(ViT, width=64, depth=3, heads=4, patch_size=4, init_std=0.08)
