"""Vision transformers as in DINO's released code.

Images are float [n, h, w, c] with a height and width that the patch size divides; features are the [CLS] token after the
last norm [n, d], float32. Source: Dosovitskiy et al. 2021, arXiv:2010.11929; Caron et al. 2021, arXiv:2104.14294, and its
released `vision_transformer.py` for initialisation, drop-path and the resizing of positions.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Torch's `trunc_normal_` truncates at the absolute values ±2, a hundred standard deviations here, so it is a normal.
_weights = nn.initializers.normal
LayerNorm = partial(nn.LayerNorm, epsilon=1e-6)


def _each(dense: nn.Dense, x: Float[Array, "n t d"]) -> Float[Array, "n t o"]:
    """Apply `dense` to each token, as one matrix; on CPU the gradient of a product over two axes takes three times as long."""
    return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


class ViTOutputs(NamedTuple):
    """The features of a vision transformer and its other outputs.

    Attributes:
      features: [n, d] the [CLS] token after the last norm.
      tokens: [n, t, d] all tokens after the last norm, [CLS] first, then the patches row by row.
      class_tokens: [blocks, n, d] the [CLS] token of each block, each after the last norm; DINO's linear probe concatenates
        the last four of a ViT-S.
      attention: [n, heads, t, t] attention maps of the last block; rows sum to one.
    """

    features: Float[Array, "n d"]
    tokens: Float[Array, "n t d"]
    class_tokens: Float[Array, "blocks n d"]
    attention: Float[Array, "n heads t t"]


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


class Attention(nn.Module):
    """Multi-head self-attention; one Dense gives queries, keys and values, so that its bias is one-dimensional.

    With `maps`, or in float64, the attention is computed explicitly, and with `maps` the attention maps are the second output.
    Otherwise the second output is None, and a fused kernel, if available, never stores whole maps.
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
        # `dot_product_attention` always computes its softmax in float32.
        if maps or q.dtype == jnp.float64:
            # Half-precision logits would be too coarse to exponentiate.
            logits = jnp.einsum("nqhc,nkhc->nhqk", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
            attention = jax.nn.softmax(logits * width**-0.5, axis=-1)
            y = jnp.einsum("nhqk,nkhc->nqhc", attention.astype(self.dtype), v)
            attention = attention if maps else None
        else:
            y = jax.nn.dot_product_attention(q, k, v, implementation=fused_attention(width, self.dtype))
        return _each(dense(d, name="proj"), y.reshape(n, t, d)), attention


class DropPath(nn.Module):
    """Stochastic depth: drops an image's whole residual branch with probability `rate`, and scales up the kept branches.

    Source: Huang et al. 2016, arXiv:1603.09382. It uses the PRNG stream "drop_path".
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"], train: bool) -> Float[Array, "n t d"]:
        if not train or self.rate == 0:
            return x
        kept = jax.random.bernoulli(self.make_rng("drop_path"), 1 - self.rate, (x.shape[0], 1, 1))
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


class Block(nn.Module):
    """Attention and a two-layer MLP, each after a norm and with a residual connection."""

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
      image_size: side in pixels of the images for which positions are learned; they are resized for other images.
      patch_size: side of a patch in pixels.
      width: width of the tokens.
      depth: number of blocks.
      heads: number of attention heads; must divide `width`.
      mlp_ratio: hidden width of the MLPs, in multiples of `width`.
      drop_path: drop-path rate of the last block in training; it rises linearly from 0 in the first block.
      init_std: initial standard deviation of the weights of attention and MLPs; the release's .02 suits widths of hundreds.
      positions: how positions are resized for other resolutions: "dino" as in the released code, with a scale that is a tenth
        of a patch too large; "size" to the exact grid, as in timm and later code.
      remat: store only the inputs of the blocks for the gradient, and recompute the rest.
      dtype: dtype of the computation; parameters, softmaxes and features are float32.
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
        """Features [n, d] of images, or `ViTOutputs` with `outputs`.

        Raises ValueError unless the patch size divides the image size and the number of heads divides the width.
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
        # Torch's default for a convolution, which the released code does not change: uniform within ±1/√fan-in.
        bound = patches.shape[-1] ** -0.5
        embed = nn.Dense(
            self.width,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            bias_init=lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound),
            dtype=self.dtype,
            name="patch_embed",
        )
        x = _each(embed, patches)
        # Both are [1, ·, d], so that they count as kernels and get weight decay, as in DINO.
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
            # The norm treats each token separately, so only [CLS] is needed.
            return norm(x[:, 0]).astype(wide)
        tokens = norm(x).astype(wide)
        return ViTOutputs(tokens[:, 0], tokens, norm(jnp.stack(class_tokens)).astype(wide), attention)


def _to_patches(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n t p"]:
    """Patches row by row, each flattened row by row with channels last, so that the embedding is one matrix product."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // size, size, width // size, size, channels)
    return x.swapaxes(2, 3).reshape(n, (height // size) * (width // size), size * size * channels)


def resize_positions(
    positions: Float[Array, "1 t d"], side: int, grid: tuple[int, int], *, how: str = "dino"
) -> Float[Array, "1 u d"]:
    """Resize position embeddings of a `side` x `side` grid, [CLS] first, to another grid (rows, columns); [CLS] stays as is.

    Bicubic with torch's a = -0.75 and without antialiasing. `how="dino"` samples the grid at a scale of
    `(cells + 0.1) / side`, as DINO's released code does to avoid rounding problems; `how="size"` uses `cells / side`. With
    released weights the two differ by far more than rounding.

    Raises:
      ValueError: on other values of `how`.
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
# Small enough for two CPU cores with the few tokens of small images. With weights of .02, blocks would hardly change 64
# channels, and all images would have nearly equal features in a contrastive loss.
vit_micro = partial(ViT, width=64, depth=3, heads=4, patch_size=4, init_std=0.08)
