"""Residual networks as torchvision and SimCLR define them, with stems for large, small and very small images.

Images are float [n, h, w, c]; features are the globally averaged last map [n, d], float32.
Source: He et al. 2016, arXiv:1512.03385; torchvision `models/resnet.py` for strides and padding; Chen et al. 2020,
arXiv:2002.05709, appendix B.9 for the stem at 32 pixels. GroupNorm is Wu & He 2018, arXiv:1803.08494, the standardised
weights that go with it Qiao et al. 2019, arXiv:1903.10520, and both for BYOL Richemond et al. 2020, arXiv:2010.10241.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sslax.networks.norm import BatchNorm

Stem = Literal["imagenet", "small", "patch"]
Norm = Literal["batch", "group", "none"]
Initial = Literal["release", "torch", "torchvision"]

# Padding is symmetric, as in torch: "SAME" puts the odd pixel of a stride of 2 on the other side.
Conv = partial(nn.Conv, use_bias=False)
# Torch's default for convolutions and linear layers: uniform within ±1/√fan-in, a variance of a third of 1/fan-in.
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# What a convolution starts from: flax's default, which is that of SimCLR's and BYOL's releases; torch's; torchvision's.
KERNELS = {
    "release": nn.initializers.lecun_normal(),
    "torch": torch_uniform,
    "torchvision": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
}


class StandardizedConv(nn.Module):
    """A convolution without bias whose kernel has mean 0 and variance 1 for each output channel.

    A norm has to follow, as outputs are √fan-in times as large as after a kernel that starts at variance 1/fan-in.

    Source: Qiao et al. 2019, arXiv:1903.10520, equation 5, with its ε so small that kernels of any fan-in are standardised.

    Attributes:
      features: output channels.
      kernel_size: height and width.
      strides: of both.
      padding: pixels on each side.
      dtype: of the convolution; the kernel is standardised in float32.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n i j f"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = kernel - kernel.mean(axis=(0, 1, 2), keepdims=True)
        kernel = kernel * lax.rsqrt(jnp.mean(kernel * kernel, axis=(0, 1, 2), keepdims=True) + 1e-10)
        return lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.strides, self.strides),
            padding=[(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def make_conv(norm: Norm, dtype: Any, initial: Initial = "release") -> Callable[..., nn.Module]:
    """What makes the convolutions of a network with this norm: without a norm they have biases, in place of its offsets."""
    if norm == "group":
        return partial(StandardizedConv, dtype=dtype)
    # The names of the parameters go by the class, which is the same.
    return partial(Conv, use_bias=norm == "none", kernel_init=KERNELS[initial], dtype=dtype)


def last_scale(zero_residual: bool) -> nn.initializers.Initializer:
    """What the scale of a block's last norm starts from: zeros make every block the identity at the start."""
    return nn.initializers.zeros if zero_residual else nn.initializers.ones


def groups_of(channels: int) -> int:
    """Groups that GroupNorm makes of so many channels: 32, its paper's default, or the most that leave two channels each."""
    return max(groups for groups in range(1, 33) if channels % groups == 0 and 2 * groups <= max(channels, 2))


def normalise(
    norm: Norm,
    x: Array,
    *,
    train: bool,
    views: int = 1,
    dtype: Any = jnp.float32,
    residual: Array | None = None,
    relu: bool = False,
    name: str | None = None,
    **options: Any,
) -> Array:
    """`x` [n, h, w, c] through a norm of its own in the module that calls, with `residual` added and the ReLU where asked for.

    `options` go to the norm, if it is one.
    """
    if norm == "batch":
        return BatchNorm(views=views, dtype=dtype, name=name, **options)(x, train, residual=residual, relu=relu)
    if norm == "group":
        x = nn.GroupNorm(groups_of(x.shape[-1]), epsilon=1e-5, dtype=dtype, name=name, **options)(x)
    x = x if residual is None else x + residual
    return nn.relu(x) if relu else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 projection."""

    width: int
    stride: int = 1
    dtype: Any = jnp.float32
    views: int = 1
    norm: Norm = "batch"
    initial: Initial = "release"
    zero_residual: bool = True

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(normalise, self.norm, train=train, views=self.views, dtype=self.dtype)
        conv = make_conv(self.norm, self.dtype, self.initial)
        y = conv(self.width, (3, 3), strides=self.stride, padding=1)(x)
        y = norm(y, relu=True)
        y = conv(self.width, (3, 3), padding=1)(y)
        if x.shape != y.shape:
            x = conv(self.width, (1, 1), strides=self.stride, name="shortcut_conv")(x)
            x = norm(x, name="shortcut_norm")
        return norm(y, residual=x, relu=True, scale_init=last_scale(self.zero_residual))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision has it), 1x1 to four times the width."""

    width: int
    stride: int = 1
    dtype: Any = jnp.float32
    views: int = 1
    norm: Norm = "batch"
    initial: Initial = "release"
    zero_residual: bool = True

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        norm = partial(normalise, self.norm, train=train, views=self.views, dtype=self.dtype)
        conv = make_conv(self.norm, self.dtype, self.initial)
        y = norm(conv(self.width, (1, 1))(x), relu=True)
        y = conv(self.width, (3, 3), strides=self.stride, padding=1)(y)
        y = norm(y, relu=True)
        y = conv(4 * self.width, (1, 1))(y)
        if x.shape != y.shape:
            x = conv(4 * self.width, (1, 1), strides=self.stride, name="shortcut_conv")(x)
            x = norm(x, name="shortcut_norm")
        return norm(y, residual=x, relu=True, scale_init=last_scale(self.zero_residual))


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
      norm: "batch"; "group", GroupNorm after convolutions of standardised weights, with which nothing crosses the batch; or
        "none", with which convolutions have biases and blocks do not start as the identity: each adds up to a half to the
        mean square of its map, which stays within [0.2, 1] through ResNet-18 and ResNet-50 at their start.
      initial: what convolutions start from: "release", a truncated normal of variance 1/fan-in, as in SimCLR's and BYOL's
        releases; "torch", its default, uniform within ±1/√fan-in; "torchvision", He's normal over the fan-out.
      zero_residual: start each block's last norm at a scale of 0, so that the block is the identity; False starts it at 1.
      stem_relu: ReLU after the stem's norm. lightly's CIFAR-10 benchmark loses it, as it takes its network apart.
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
    norm: Norm = "batch"
    initial: Initial = "release"
    zero_residual: bool = True
    stem_relu: bool = True
    remat: bool = False
    views: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n d"]:
        x = x.astype(self.dtype)
        block = nn.remat(self.block, static_argnums=(2,)) if self.remat else self.block
        widths = self.widths or [self.width * 2**stage for stage in range(len(self.stages))]
        conv = partial(make_conv(self.norm, self.dtype, self.initial), name="stem_conv")
        if self.stem == "imagenet":
            x = conv(widths[0], (7, 7), strides=2, padding=3)(x)
        elif self.stem == "small":
            x = conv(widths[0], (3, 3), padding=1)(x)
        else:
            x = conv(widths[0], (self.patch_size, self.patch_size), strides=self.patch_size, padding=0)(x)
        norm = partial(normalise, self.norm, train=train, views=self.views, dtype=self.dtype)
        x = norm(x, relu=self.stem_relu, name="stem_norm")
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stages):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage + 1}_block{index + 1}"
                x = block(
                    widths[stage],
                    stride,
                    self.dtype,
                    self.views,
                    self.norm,
                    self.initial,
                    self.zero_residual,
                    name=name,
                )(x, train)
        # The mean of up to 49 bfloat16 numbers is worth taking in float32.
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))


resnet18 = partial(ResNet, stages=(2, 2, 2, 2), block=BasicBlock)
resnet34 = partial(ResNet, stages=(3, 4, 6, 3), block=BasicBlock)
resnet50 = partial(ResNet, stages=(3, 4, 6, 3), block=Bottleneck)
# Two stages after a patch stem: an 8x8 map of 32-pixel images, where XLA's CPU convolutions are at their fastest.
patch_resnet = partial(ResNet, stages=(1, 1), block=BasicBlock, stem="patch")
