"""Vision transformers as in the released code of DINO, DINOv2, DINOv3 and MAE.

Images are float [n, h, w, c] with a height and width that the patch size divides; features are the [CLS] token after the
last norm [n, d], float32. Sources: Dosovitskiy et al. 2021, arXiv:2010.11929; Caron et al. 2021, arXiv:2104.14294, and its
released `vision_transformer.py` for initialisation, drop-path and the resizing of positions; Oquab et al. 2023,
arXiv:2304.07193 (layer scale, SwiGLU); Darcet et al. 2023, arXiv:2309.16588 (registers); Siméoni et al. 2025, arXiv:2508.10104
(rotary positions).
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sslax.networks.attention import Attention, Initial, each, weights
from sslax.networks.positions import resize_positions, sine_positions

MLP = Literal["gelu", "swiglu"]
Positions = Literal["dino", "size", "antialiased", "rope"]


class ViTOutputs(NamedTuple):
    """The features of a vision transformer and its other outputs.

    Attributes:
      features: [n, d] the [CLS] token after the last norm.
      tokens: [n, t, d] all tokens after the last norm: [CLS], the registers, then the patches row by row.
      class_tokens: [blocks, n, d] the [CLS] token of each block, each after the last norm; DINO's linear probe concatenates
        the last four of a ViT-S.
      attention: [n, heads, t, t] attention maps of the last block; rows sum to one.
    """

    features: Float[Array, "n d"]
    tokens: Float[Array, "n t d"]
    class_tokens: Float[Array, "blocks n d"]
    attention: Float[Array, "n heads t t"]


def hidden_width(width: int, ratio: float) -> int:
    """The hidden width of an MLP on tokens of `width`: their product, rounded down as in timm, but for rounding errors."""
    return int(round(width * ratio, 6))


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
    """Attention and an MLP, each after a norm and with a residual connection; the attributes are those of `ViT`."""

    heads: int
    mlp_ratio: float
    drop_path: float
    init_std: float = 0.02
    layer_scale: float | None = None
    mlp: MLP = "gelu"
    qkv_bias: bool = True
    norm_epsilon: float = 1e-6
    initial: Initial = "release"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], train: bool, maps: bool = False, grid: tuple[int, int] | None = None
    ) -> tuple[Float[Array, "n t d"], Any]:
        width = x.shape[-1]
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        drop = partial(DropPath, self.drop_path)
        attend = Attention(self.heads, self.qkv_bias, self.init_std, self.initial, self.dtype, name="attn")
        y, attention = attend(norm(name="norm1")(x), maps, grid)
        x = x + drop(name="drop1")(self._scaled("ls1", y), train)
        y = self._mlp(norm(name="norm2")(x), width)
        return x + drop(name="drop2")(self._scaled("ls2", y), train), attention

    def _mlp(self, x: Float[Array, "n t d"], width: int) -> Float[Array, "n t d"]:
        dense = partial(nn.Dense, kernel_init=weights(self.init_std, self.initial), dtype=self.dtype)
        hidden, gated = hidden_width(width, self.mlp_ratio), self.mlp == "swiglu"
        y = each(dense((1 + gated) * hidden, name="fc1"), x)
        # Gate and value come of one product.
        y = nn.silu(y[..., :hidden]) * y[..., hidden:] if gated else nn.gelu(y, approximate=False)
        return each(dense(width, name="fc2"), y)

    def _scaled(self, name: str, y: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        if self.layer_scale is None:
            return y
        scale = self.param(name, nn.initializers.constant(self.layer_scale), (y.shape[-1],))
        return y * scale.astype(self.dtype)[None, None]


class ViT(nn.Module):
    """A vision transformer without its classifier.

    Attributes:
      image_size: side in pixels of the images for which positions are learned; they are resized for other images.
      patch_size: side of a patch in pixels.
      width: width of the tokens.
      depth: number of blocks.
      heads: number of attention heads; must divide `width`.
      mlp_ratio: hidden width of the MLPs, in multiples of `width`; for "swiglu" the width of the gate.
      drop_path: drop-path rate of the last block in training; it rises linearly from 0 in the first block.
      init_std: initial standard deviation of the weights of attention and MLPs; the release's .02 suits widths of hundreds.
      registers: number of extra learned tokens between [CLS] and the patches. With registers, [CLS] has no position.
      layer_scale: initial value of a learned factor per channel of each residual branch; None for no factor.
      mlp: "gelu", or "swiglu", which multiplies silu of the first half of the hidden layer by the second half.
      qkv_bias: give queries, keys and values a bias; with rotary positions only queries and values have one.
      norm_epsilon: epsilon of the LayerNorms.
      positions: "dino", "size" or "antialiased" for learned positions, or "rope" for rotary positions in every block. Learned
        positions are resized for other resolutions: "dino" as in its released code, with a scale that is a tenth of a patch too
        large; "size" to the exact grid; "antialiased" to the exact grid with antialiasing, as in timm.
      initial: "release", DINO's start: normal weights and learned positions. "mae" and "moco-v3": Xavier's uniform, and
        sine-cosine positions, which their methods do not train.
      mask_token: learn a token that replaces masked patches.
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
    registers: int = 0
    layer_scale: float | None = None
    mlp: MLP = "gelu"
    qkv_bias: bool = True
    norm_epsilon: float = 1e-6
    positions: Positions = "dino"
    initial: Initial = "release"
    mask_token: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches: [CLS] and the registers."""
        return 1 + self.registers

    @property
    def fixed_positions(self) -> bool:
        """Whether the positions are sines and cosines, which are not trained."""
        return self.initial != "release" and self.positions != "rope"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        train: bool = False,
        *,
        outputs: bool = False,
        tokens: bool = False,
        mask: Bool[Array, "n p"] | None = None,
        keep: Int[Array, "n k"] | None = None,
    ) -> Float[Array, "n d"] | Float[Array, "n t d"] | ViTOutputs:
        """Features [n, d] of images, or `ViTOutputs` with `outputs`, or only its `tokens` [n, t, d] with `tokens`.

        Args:
          x: images.
          train: apply stochastic depth.
          outputs: return `ViTOutputs`.
          tokens: return all tokens after the last norm; without attention maps, a fused kernel can compute every block.
          mask: True for patches that the mask token replaces; requires `mask_token`.
          keep: indices of the patches that become tokens, in the given order; None keeps all. MAE encodes a quarter of the
            patches. Not available with rotary positions.

        Raises:
          ValueError: unless the patch size divides the image size and the number of heads divides the width; for a mask or
            kept patches that the attributes do not allow.
        """
        _, height, width, _ = x.shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"images are {height} x {width} pixels; both must be multiples of patch_size, {self.patch_size}."
            )
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}; it must be a multiple of heads, {self.heads}.")
        if self.positions == "rope" and keep is not None:
            raise ValueError('keep is given, but positions is "rope"; it must be one of the learned positions.')
        if mask is not None and not self.mask_token:
            raise ValueError("mask is given, but mask_token is False; it must be True for masked patches.")
        grid = height // self.patch_size, width // self.patch_size
        x = self._embedded(x.astype(self.dtype), grid, mask, keep)
        rotary = grid if self.positions == "rope" else None

        norm = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")
        wide = jnp.promote_types(self.dtype, jnp.float32)
        class_tokens, attention = [], jnp.zeros(0)
        for index in range(self.depth):
            x, attention = self._block(index)(x, train, outputs and index == self.depth - 1, rotary)
            class_tokens.append(x[:, 0])
        if tokens and not outputs:
            return norm(x).astype(wide)
        if not outputs:
            # The norm treats each token separately, so only [CLS] is needed.
            return norm(x[:, 0]).astype(wide)
        all_tokens = norm(x).astype(wide)
        return ViTOutputs(all_tokens[:, 0], all_tokens, norm(jnp.stack(class_tokens)).astype(wide), attention)

    def _block(self, index: int) -> nn.Module:
        block = nn.remat(Block, static_argnums=(2, 3, 4)) if self.remat else Block
        return block(
            self.heads,
            self.mlp_ratio,
            self.drop_path * index / max(self.depth - 1, 1),
            self.init_std,
            self.layer_scale,
            self.mlp,
            self.qkv_bias,
            self.norm_epsilon,
            self.initial,
            self.dtype,
            name=f"block{index + 1}",
        )

    def _embedded(self, x, grid, mask, keep) -> Float[Array, "n t d"]:
        """Tokens of images: [CLS], registers and patches, with their positions."""
        patches = to_patches(x, self.patch_size)
        # Torch's default for a convolution, which DINO's code does not change: uniform within ±1/√fan-in.
        bound = patches.shape[-1] ** -0.5
        layer: dict[str, Any] = {
            "kernel_init": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            "bias_init": lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound),
        }
        if self.initial != "release":
            layer = {"kernel_init": weights(0.02, self.initial)}
        embed = nn.Dense(self.width, **layer, dtype=self.dtype, name="patch_embed")
        x = each(embed, patches)

        def learned(name, tokens, std=0.02):
            # These are [1, ·, d], so that they count as kernels and get weight decay, as in DINO.
            return self.param(name, weights(std), (1, tokens, self.width))

        if self.mask_token:
            token = learned("mask_token", 1).astype(self.dtype)
            x = x if mask is None else jnp.where(mask[:, :, None], token, x)
        first = [learned("cls_token", 1, 1e-6 if self.initial == "moco-v3" else 0.02)] + (
            [learned("reg_token", self.registers)] if self.registers else []
        )
        if self.positions != "rope":
            side, own = self.image_size // self.patch_size, 0 if self.registers else 1

            def sines(key, shape):
                return jnp.asarray(sine_positions(self.width, side, own=own, by=self.initial))

            start = sines if self.fixed_positions else weights(0.02)
            pos = self.param("pos_embed", start, (1, own + side * side, self.width))
            pos = resize_positions(pos, side, grid, how=self.positions)
            first[0] = first[0] + pos[:, :own] if own else first[0]
            x = x + pos[:, own:].astype(self.dtype)
        if keep is not None:
            x = jnp.take_along_axis(x, keep[:, :, None], axis=1)
        tokens = jnp.concatenate(first, axis=1).astype(self.dtype)
        return jnp.concatenate([jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:])), x], axis=1)


def to_patches(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n t p"]:
    """Patches row by row, each flattened row by row with channels last, so that the embedding is one matrix product."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // size, size, width // size, size, channels)
    return x.swapaxes(2, 3).reshape(n, (height // size) * (width // size), size * size * channels)


vit_tiny = partial(ViT, width=192, depth=12, heads=3)
vit_small = partial(ViT, width=384, depth=12, heads=6)
vit_base = partial(ViT, width=768, depth=12, heads=12)
vit_large = partial(ViT, width=1024, depth=24, heads=16)
vit_huge = partial(ViT, width=1280, depth=32, heads=16, patch_size=14)
# DINOv2's ViT-g.
vit_giant = partial(ViT, width=1536, depth=40, heads=24, patch_size=14, mlp="swiglu", mlp_ratio=8 / 3)
# Small enough for two CPU cores with the few tokens of small images. With weights of .02, blocks would hardly change 64
# channels, and all images would have nearly equal features in a contrastive loss.
vit_micro = partial(ViT, width=64, depth=3, heads=4, patch_size=4, init_std=0.08)
