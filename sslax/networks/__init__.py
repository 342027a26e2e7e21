"""Backbones and heads in flax.linen, and the two calls that the rest of the library makes on them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sslax.networks.heads import SimCLRProjector
from sslax.networks.resnet import ResNet, patch_resnet, resnet18, resnet34, resnet50

__all__ = [
    "BACKBONES",
    "ResNet",
    "SimCLRProjector",
    "build_backbone",
    "forward",
    "init",
    "patch_resnet",
    "resnet18",
    "resnet34",
    "resnet50",
]

BACKBONES = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50, "patch-resnet": patch_resnet}


def build_backbone(
    name: str, *, image_size: int, stem: str = "auto", width: int = 64, patch_size: int = 4, dtype: Any = jnp.float32
) -> nn.Module:
    """A backbone from the table of names.

    Args:
      name: a key of `BACKBONES`.
      image_size: side of the square views, pixels; decides the stem where that is "auto": 3x3 of stride 1 up to 32 pixels.
      stem: "auto", "imagenet", "small" or "patch".
      width: channels of the first stage.
      patch_size: of a "patch" stem, pixels.
      dtype: of the computation.

    Raises:
      KeyError: on a name that is not in the table.
    """
    if name == "patch-resnet" and stem == "auto":
        stem = "patch"
    elif stem == "auto":
        stem = "small" if image_size <= 32 else "imagenet"
    return BACKBONES[name](stem=stem, width=width, patch_size=patch_size, dtype=dtype)


def init(module: nn.Module, key: Key[Array, ""], example: Float[Array, "..."]) -> tuple[PyTree, PyTree]:
    """Parameters and BatchNorm statistics of `module` for inputs like `example`; the statistics may be an empty dict."""
    variables = module.init(key, example, train=False)
    # A module without parameters (a head of no layers) has no such collection.
    return variables.get("params", {}), variables.get("batch_stats", {})


def forward(
    module: nn.Module, params: PyTree, statistics: PyTree, x: Float[Array, "..."], *, train: bool
) -> tuple[Any, PyTree]:
    """`module` on `x`, and its BatchNorm statistics afterwards: batch statistics in training, running ones otherwise."""
    variables = {"params": params, "batch_stats": statistics}
    if not train:
        return module.apply(variables, x, train=False), statistics
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    return y, updated.get("batch_stats", {})
