"""Backbones and heads in flax.linen, and the two calls that the rest of the library makes on them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sslax.networks.heads import BYOLMLP, ClassifierHead, DINOHead, MLPHead, SimCLRProjector
from sslax.networks.positions import resize_positions
from sslax.networks.resnet import Initial, Norm, ResNet, patch_resnet, resnet18, resnet34, resnet50
from sslax.networks.vit import (
    ViT,
    ViTOutputs,
    vit_base,
    vit_giant,
    vit_huge,
    vit_large,
    vit_micro,
    vit_small,
    vit_tiny,
)

__all__ = [
    "BACKBONES",
    "BYOLMLP",
    "RESNETS",
    "VITS",
    "ClassifierHead",
    "DINOHead",
    "MLPHead",
    "ResNet",
    "SimCLRProjector",
    "ViT",
    "ViTOutputs",
    "build_backbone",
    "forward",
    "heads_of",
    "init",
    "initial_of",
    "patch_resnet",
    "patch_side",
    "resize_positions",
    "resnet18",
    "resnet34",
    "resnet50",
    "vit_base",
    "vit_giant",
    "vit_huge",
    "vit_large",
    "vit_micro",
    "vit_small",
    "vit_tiny",
    "with_views",
    "without_drop_path",
]

RESNETS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50, "patch-resnet": patch_resnet}
VITS = {
    "vit-tiny": vit_tiny,
    "vit-small": vit_small,
    "vit-base": vit_base,
    "vit-large": vit_large,
    "vit-huge": vit_huge,
    "vit-giant": vit_giant,
    "vit-micro": vit_micro,
}
BACKBONES = RESNETS | VITS


def build_backbone(
    name: str,
    *,
    image_size: int,
    stem: str = "auto",
    width: int | None = None,
    depth: int | None = None,
    patch_size: int | None = None,
    norm: Norm = "batch",
    initial: Initial = "release",
    zero_residual: bool = True,
    stem_relu: bool = True,
    drop_path: float = 0.1,
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """A backbone from the table of names.

    Args:
      name: a key of `BACKBONES`.
      image_size: side of the square views, pixels; decides a ResNet's stem where that is "auto", 3x3 of stride 1 up to 32
        pixels, and the grid that a ViT's positions are made for.
      stem: "auto", "imagenet", "small" or "patch"; of ResNets.
      width: channels of a ResNet's first stage, or of a ViT's tokens; None is what the name says.
      depth: blocks of a ViT; None is what the name says.
      patch_size: of a ViT or a "patch" stem, pixels; None is what the name says.
      norm, initial, zero_residual, stem_relu: of ResNets, see there.
      drop_path: of a ViT's last block in training.
      remat: keep only the blocks' inputs for the gradient, and compute what is inside again.
      dtype: of the computation.

    Raises:
      KeyError: on a name that is not in the table.
    """
    given = {"width": width, "depth": depth, "patch_size": patch_size}
    given = {field: value for field, value in given.items() if value is not None}
    if name in VITS:
        return VITS[name](image_size=image_size, drop_path=drop_path, remat=remat, dtype=dtype, **given)
    given.pop("depth", None)
    if stem == "auto":
        small = "small" if image_size <= 32 else "imagenet"
        stem = "patch" if name == "patch-resnet" else small
    start = {"initial": initial, "zero_residual": zero_residual, "stem_relu": stem_relu}
    return RESNETS[name](stem=stem, norm=norm, remat=remat, dtype=dtype, **start, **given)


def patch_side(name: str, *, stem: str = "auto", patch_size: int | None = None) -> int | None:
    """The side of the patches that a backbone of these options cuts images into, pixels; None where it cuts none."""
    if name in VITS or stem == "patch" or (name, stem) == ("patch-resnet", "auto"):
        return patch_size or BACKBONES[name]().patch_size
    return None


def heads_of(name: str) -> int | None:
    """The heads of a ViT's attention, which its width is divided among; None for other networks."""
    return VITS[name]().heads if name in VITS else None


def without_drop_path(module: nn.Module) -> nn.Module:
    """The same network, parameters and all, but for its stochastic depth: a target's or a teacher's."""
    return module.clone(drop_path=0.0) if isinstance(module, ViT) else module


def with_views(module: nn.Module, views: int) -> nn.Module:
    """The same network for batches in which so many views of each image lie side by side: in training each view is normalised
    by its own statistics, as if it had a forward of its own, and running ones take in one view after the other."""
    own = isinstance(module, ResNet | SimCLRProjector | BYOLMLP | DINOHead | MLPHead)
    return module.clone(views=views) if own else module


def initial_of(module: nn.Module) -> Initial:
    """What heads on this backbone start from: as its convolutions do, and their releases' own on a ViT."""
    return module.initial if isinstance(module, ResNet) else "release"


def init(module: nn.Module, key: Key[Array, ""], example: Float[Array, "..."]) -> tuple[PyTree, PyTree]:
    """Parameters and BatchNorm statistics of `module` for inputs like `example`; the statistics may be an empty dict."""
    variables = module.init(key, example, train=False)
    # A module without parameters (a head of no layers) has no such collection.
    return variables.get("params", {}), variables.get("batch_stats", {})


def forward(
    module: nn.Module,
    params: PyTree,
    statistics: PyTree,
    x: Float[Array, "..."],
    *,
    train: bool,
    key: Key[Array, ""] | None = None,
    **options: Any,
) -> tuple[Any, PyTree]:
    """`module` on `x`, and its BatchNorm statistics afterwards: batch statistics in training, running ones otherwise.

    `key` is for what a network draws in training (drop-path); `options` go to the module.
    """
    variables = {"params": params, "batch_stats": statistics}
    if not train:
        return module.apply(variables, x, train=False, **options), statistics
    rngs = None if key is None else {"drop_path": key}
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs, **options)
    return y, updated.get("batch_stats", {})
