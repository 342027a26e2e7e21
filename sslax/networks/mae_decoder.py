"""MAE's decoder: a small vision transformer from the encoded patches and mask tokens to the pixels of every patch.

Source: He et al. 2022, arXiv:2111.06377, section 3; `forward_decoder` of the released `models_mae.py`.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sslax.networks.attention import each, weights
from sslax.networks.positions import sine_positions
from sslax.networks.vit import Block


class MAEDecoder(nn.Module):
    """Pixels of every patch from the tokens of the kept ones; weights start from Xavier's uniform.

    Attributes:
      pixels: numbers of a patch, the width of the output.
      side: rows and columns of the grid of patches.
      width: width of the tokens; a multiple of 4, for the fixed sine-cosine positions, and of `heads`.
      depth: number of blocks.
      heads: number of attention heads.
      remat: store only the inputs of the blocks for the gradient, and recompute the rest.
      dtype: of the computation; the output is float32.
    """

    pixels: int
    side: int
    width: int = 512
    depth: int = 8
    heads: int = 16
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t d"], train: bool = False, *, restore: Int[Array, "n p"] | None = None
    ) -> Float[Array, "n p o"]:
        """Pixels [n, p, o] of every patch, row by row, each patch row by row with channels last.

        Args:
          x: encoded tokens: [CLS], then the kept patches.
          train: has no effect, as there is no dropout.
          restore: place of each patch of the grid among the kept patches, followed by the others, which become mask tokens.
            None: the tokens are those of all patches, in order.
        """
        dense = partial(nn.Dense, kernel_init=weights(0.02, "mae"), dtype=self.dtype)
        x = each(dense(self.width, name="embed"), x.astype(self.dtype))
        mask_token = self.param("mask_token", weights(0.02), (1, 1, self.width)).astype(self.dtype)
        first, patches = x[:, :1], x[:, 1:]
        if restore is not None:
            masked = jnp.broadcast_to(mask_token, (len(x), restore.shape[1] - patches.shape[1], self.width))
            patches = jnp.take_along_axis(jnp.concatenate([patches, masked], axis=1), restore[:, :, None], axis=1)
        positions = sine_positions(self.width, self.side, own=1)
        x = jnp.concatenate([first, patches], axis=1) + jnp.asarray(positions, self.dtype)
        block = nn.remat(Block, static_argnums=(2, 3)) if self.remat else Block
        for index in range(self.depth):
            options = {"initial": "mae", "dtype": self.dtype, "name": f"block{index + 1}"}
            x, _ = block(self.heads, 4.0, 0.0, **options)(x, train, False)
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x[:, 1:])
        x = each(dense(self.pixels, name="pred"), x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
