"""Residual networks as defined by torchvision and SimCLR, with stems for large, small and very small images.

Images are float [n, h, w, c]; features are the globally averaged last map [n, d], float32.
Source: He et al. 2016, arXiv:1512.03385; torchvision `models/resnet.py` for strides and padding; Chen et al. 2020,
arXiv:2002.05709, appendix B.9 for the stem at 32 pixels. GroupNorm: Wu & He 2018, arXiv:1803.08494. Weight standardisation,
which is used with it: Qiao et al. 2019, arXiv:1903.10520. Both for BYOL: Richemond et al. 2020, arXiv:2010.10241.
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

# Padding is symmetric, as in torch. With a stride of 2, "SAME" would put the odd pixel on the other side.
Conv = partial(nn.Conv, use_bias=False)
# Torch's default for convolutions and linear layers: uniform within ±1/√fan-in, with a variance of 1/(3 · fan-in).
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# Initialisation of convolutions: flax's default, as in SimCLR's and BYOL's released code; torch's default; torchvision's.
KERNELS = {
    "release": nn.initializers.lecun_normal(),
    "torch": torch_uniform,
    "torchvision": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
}


class StandardizedConv(nn.Module):
    """A convolution without bias that standardises its kernel to mean 0 and variance 1 for each output channel.

    A norm must follow, because outputs are √fan-in times as large as with a kernel of variance 1/fan-in.

    Source: Qiao et al. 2019, arXiv:1903.10520, equation 5, with an ε small enough to standardise kernels of any fan-in.

    Attributes:
      features: number of output channels.
      kernel_size: height and width of the kernel.
      strides: stride in both directions.
      padding: pixels on each side.
      dtype: dtype of the convolution; the kernel is standardised in float32.
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
    """A constructor of convolutions for networks with this norm; without a norm they have biases, which replace its offsets."""
    if norm == "group":
        return partial(StandardizedConv, dtype=dtype)
    # The class is the same in all cases, so the parameter names are too.
    return partial(Conv, use_bias=norm == "none", kernel_init=KERNELS[initial], dtype=dtype)


def last_scale(zero_residual: bool) -> nn.initializers.Initializer:
    """Initializer for the scale of a block's last norm; zeros make every block the identity at initialisation."""
    return nn.initializers.zeros if zero_residual else nn.initializers.ones


def groups_of(channels: int) -> int:
    """Number of GroupNorm groups: 32, its paper's default, or the largest smaller divisor with two channels per group."""
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
    """Apply a norm, created in the calling module, to `x` [n, h, w, c], then optionally add `residual` and apply ReLU.

    `options` are passed to the norm, unless it is "none".
    """
    if norm == "batch":
        return BatchNorm(views=views, dtype=dtype, name=name, **options)(x, train, residual=residual, relu=relu)
    if norm == "group":
        x = nn.GroupNorm(groups_of(x.shape[-1]), epsilon=1e-5, dtype=dtype, name=name, **options)(x)
    x = x if residual is None else x + residual
    return nn.relu(x) if relu else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with an identity or 1x1 projection shortcut."""

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
    """Convolutions 1x1, 3x3 (with the stride, as in torchvision) and 1x1 to four times the width, with a shortcut."""

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
      stages: number of blocks in each stage; each stage after the first halves the map's side.
      block: BasicBlock or Bottleneck.
      width: channels of the first stage; each further stage doubles them.
      widths: channels of each stage, instead of `width`.
      stem: "imagenet", 7x7 with stride 2 and 3x3 max-pool with stride 2; "small", 3x3 with stride 1, for images up to 32
        pixels; "patch", non-overlapping patches, which give maps of the sizes that CPUs process fastest.
      patch_size: patch side of the "patch" stem in pixels.
      norm: "batch"; "group", GroupNorm with weight-standardised convolutions, which does not depend on the rest of the batch;
        or "none", with biases in the convolutions. With "none", blocks are not the identity at initialisation: each adds up
        to a half to the mean square of its map, which stays within [0.2, 1] through an initialised ResNet-18 or ResNet-50.
      initial: initialisation of convolutions: "release", a truncated normal of variance 1/fan-in, as in SimCLR's and BYOL's
        released code; "torch", torch's default, uniform within ±1/√fan-in; "torchvision", He's normal over the fan-out.
      zero_residual: initialise the scale of each block's last norm to 0, which makes the block the identity; False: to 1.
      stem_relu: ReLU after the stem's norm. lightly's CIFAR-10 benchmark drops it when it splits its network into parts.
      remat: store only the inputs of the blocks for the gradient, and recompute the rest.
      views: number of views of each image in adjacent rows of a batch; in training each is normalised by its own statistics.
      dtype: dtype of the computation; parameters and statistics are float32.
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
        # In float32, because a bfloat16 mean of up to 49 numbers would lose precision.
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))


resnet18 = partial(ResNet, stages=(2, 2, 2, 2), block=BasicBlock)
resnet34 = partial(ResNet, stages=(3, 4, 6, 3), block=BasicBlock)
resnet50 = partial(ResNet, stages=(3, 4, 6, 3), block=Bottleneck)
# Two stages after a patch stem: images of 32 pixels give an 8x8 map, the size at which XLA's CPU convolutions are fastest.
patch_resnet = partial(ResNet, stages=(1, 1), block=BasicBlock, stem="patch")
