"""Residual networks as torchvision and SimCLR define them, with stems for large, small and very small images.

Images are float [n, h, w, c]; features are the globally averaged last map [n, d], float32.
Source: He et al. 2016, arXiv:1512.03385; torchvision `models/resnet.py` for strides and padding; Chen et al. 2020,
arXiv:2002.05709, appendix B.9 for the stem at 32 pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Stem = Literal["imagenet", "small", "patch"]

# Torch's BatchNorm says "momentum 0.1" for what flax calls 0.9. Statistics stay float32 whatever the compute type.
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
# Flax's default initialisation of a convolution is the variance scaling (1/fan-in, truncated normal) of SimCLR's release.
# Padding is symmetric, as in torch: "SAME" puts the odd pixel of a stride of 2 on the other side.
Conv = partial(nn.Conv, use_bias=False)


def each_view(views: int, norm: nn.Module, x: Array) -> Array:
    """`norm` on a batch in which so many views of each image lie side by side: each view by its own statistics, in turn."""
    if views == 1:
        return norm(x)
    parts = x.reshape(-1, views, *x.shape[1:])
    return jnp.stack([norm(parts[:, view]) for view in range(views)], axis=1).reshape(x.shape)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 projection."""

    width: int
    stride: int = 1
    dtype: Any = jnp.float32
    views: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        each = partial(each_view, self.views)
        conv = partial(Conv, dtype=self.dtype)
        y = conv(self.width, (3, 3), strides=self.stride, padding=1)(x)
        y = nn.relu(each(norm(), y))
        y = conv(self.width, (3, 3), padding=1)(y)
        # A last scale of zero makes every block the identity at the start.
        y = each(norm(scale_init=nn.initializers.zeros), y)
        if x.shape != y.shape:
            x = conv(self.width, (1, 1), strides=self.stride, name="shortcut_conv")(x)
            x = each(norm(name="shortcut_norm"), x)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision has it), 1x1 to four times the width."""

    width: int
    stride: int = 1
    dtype: Any = jnp.float32
    views: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        each = partial(each_view, self.views)
        conv = partial(Conv, dtype=self.dtype)
        y = nn.relu(each(norm(), conv(self.width, (1, 1))(x)))
        y = conv(self.width, (3, 3), strides=self.stride, padding=1)(y)
        y = nn.relu(each(norm(), y))
        y = each(norm(scale_init=nn.initializers.zeros), conv(4 * self.width, (1, 1))(y))
        if x.shape != y.shape:
            x = conv(4 * self.width, (1, 1), strides=self.stride, name="shortcut_conv")(x)
            x = each(norm(name="shortcut_norm"), x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Attributes:
      stages: blocks in each stage; the map halves from one stage to the next.
      block: BasicBlock or Bottleneck.
      width: channels of the first stage; they double from one stage to the next.
      widths: channels of each stage, in place of `width`.
      stem: "imagenet", 7x7 of stride 2 and 3x3 max-pool of stride 2; "small", 3x3 of stride 1, for images up to 32 pixels;
        "patch", non-overlapping patches, which bring a CPU to its fastest maps at once.
      patch_size: of the "patch" stem, pixels.
      remat: keep only the blocks' inputs for the gradient, and compute what is inside again.
      views: of each image that lie side by side in a batch; in training each is normalised by its own statistics.
      dtype: of the computation; parameters and statistics are float32.
    """

    stages: Sequence[int]
    block: Any = BasicBlock
    width: int = 64
    widths: Sequence[int] | None = None
    stem: Stem = "imagenet"
    patch_size: int = 4
    remat: bool = False
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n d"]:
        x = x.astype(self.dtype)
        block = nn.remat(self.block, static_argnums=(2,)) if self.remat else self.block
        widths = self.widths or [self.width * 2**stage for stage in range(len(self.stages))]
        conv = partial(Conv, dtype=self.dtype, name="stem_conv")
        if self.stem == "imagenet":
            x = conv(widths[0], (7, 7), strides=2, padding=3)(x)
        elif self.stem == "small":
            x = conv(widths[0], (3, 3), padding=1)(x)
        else:
            x = conv(widths[0], (self.patch_size, self.patch_size), strides=self.patch_size, padding=0)(x)
        norm = BatchNorm(use_running_average=not train, dtype=self.dtype, name="stem_norm")
        x = nn.relu(each_view(self.views, norm, x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stages):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage + 1}_block{index + 1}"
                x = block(widths[stage], stride, self.dtype, self.views, name=name)(x, train)
        # The mean of up to 49 bfloat16 numbers is worth taking in float32.
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))


resnet18 = partial(ResNet, stages=(2, 2, 2, 2), block=BasicBlock)
resnet34 = partial(ResNet, stages=(3, 4, 6, 3), block=BasicBlock)
resnet50 = partial(ResNet, stages=(3, 4, 6, 3), block=Bottleneck)
# Two stages after a patch stem: an 8x8 map of 32-pixel images, where XLA's CPU convolutions are at their fastest.
patch_resnet = partial(ResNet, stages=(1, 1), block=BasicBlock, stem="patch")
