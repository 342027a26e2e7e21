"""The small networks that methods put on a backbone and throw away after pretraining."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.networks.resnet import BatchNorm


class SimCLRProjector(nn.Module):
    """SimCLR's projection head g(h): Dense without bias and BatchNorm, ReLU after all but the last.

    Source: Chen et al. 2020, arXiv:2002.05709, appendix B.6, and the released `tf2/model.py`: the hidden width is the
    backbone's, the last BatchNorm has a scale and no offset, weights start from N(0, 0.01²).

    Attributes:
      layers: 0 is no head (the identity), 1 the paper's linear head, 2 its default, 3 the released code's.
      features: width of the output.
      dtype: of the computation; the output is float32.
    """

    layers: int = 2
    features: int = 128
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], train: bool = False) -> Float[Array, "n z"]:
        width = h.shape[-1]
        for index in range(self.layers):
            last = index == self.layers - 1
            h = nn.Dense(
                self.features if last else width,
                use_bias=False,
                kernel_init=nn.initializers.normal(0.01),
                dtype=self.dtype,
            )(h)
            h = BatchNorm(use_running_average=not train, use_bias=not last, dtype=self.dtype)(h)
            if not last:
                h = nn.relu(h)
        return h.astype(jnp.float32)
