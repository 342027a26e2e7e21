"""Backbones and heads in flax.linen, with `init` and `forward`, through which the rest of the library calls them."""

from typing import Any, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sslax.networks.attention import Initial as ViTInitial
from sslax.networks.heads import BYOLMLP, ClassifierHead, DINOHead, MLPHead, SimCLRProjector
from sslax.networks.mae_decoder import MAEDecoder
from sslax.networks.positions import resize_positions, sine_positions
from sslax.networks.resnet import Initial, Norm, ResNet, patch_resnet, resnet18, resnet34, resnet50
from sslax.networks.vit import (
    MLP,
    Positions,
    ViT,
    ViTOutputs,
    to_patches,
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
    "MAEDecoder",
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
    "sine_positions",
    "to_patches",
    "token_width",
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
    heads: int | None = None,
    patch_size: int | None = None,
    norm: Norm = "batch",
    initial: Initial | ViTInitial = "release",
    zero_residual: bool = True,
    stem_relu: bool = True,
    drop_path: float = 0.1,
    registers: int = 0,
    layer_scale: float | None = None,
    mlp: MLP | None = None,
    mlp_ratio: float | None = None,
    qkv_bias: bool = True,
    norm_epsilon: float = 1e-6,
    positions: Positions = "dino",
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """Build a backbone by its name.

    Args:
      name: a key of `BACKBONES`.
      image_size: side of the square views in pixels; it determines the grid of a ViT's positions, and the stem of a ResNet
        with stem "auto": "small" (3x3, stride 1) for up to 32 pixels, else "imagenet".
      stem: stem of a ResNet: "auto", "imagenet", "small" or "patch".
      width: channels of a ResNet's first stage, or width of a ViT's tokens; None is the default of the name.
      depth: number of blocks of a ViT; None is the default of the name.
      heads: number of attention heads of a ViT; None is the default of the name.
      patch_size: patch side of a ViT or of a "patch" stem in pixels; None is the default of the name.
      norm, zero_residual, stem_relu: options of ResNets, see `ResNet`.
      initial: start of the weights, see `ResNet` and `ViT`; a start that only the other kind has counts as "release".
      drop_path: drop-path rate of a ViT's last block in training.
      registers, layer_scale, mlp, mlp_ratio, qkv_bias, norm_epsilon, positions: options of ViTs, see `ViT`; an `mlp` or
        `mlp_ratio` of None is the default of the name.
      remat: store only the inputs of the blocks for the gradient, and recompute the rest.
      dtype: dtype of the computation.

    Raises:
      KeyError: on a name that is not in `BACKBONES`.
    """
    given: dict[str, Any] = {"width": width, "patch_size": patch_size, "remat": remat, "dtype": dtype}
    if name in VITS:
        given |= {"depth": depth, "mlp": mlp, "image_size": image_size, "drop_path": drop_path, "registers": registers}
        given |= {
            "layer_scale": layer_scale,
            "qkv_bias": qkv_bias,
            "norm_epsilon": norm_epsilon,
            "positions": positions,
            "mlp_ratio": mlp_ratio,
            "initial": initial if initial in get_args(ViTInitial) else "release",
            "heads": heads,
        }
        return VITS[name](**{field: value for field, value in given.items() if value is not None})
    given = {field: value for field, value in given.items() if value is not None}
    if stem == "auto":
        small = "small" if image_size <= 32 else "imagenet"
        stem = "patch" if name == "patch-resnet" else small
    own = initial if initial in get_args(Initial) else "release"
    start = {"initial": own, "zero_residual": zero_residual, "stem_relu": stem_relu}
    return RESNETS[name](stem=stem, norm=norm, **start, **given)


def patch_side(name: str, *, stem: str = "auto", patch_size: int | None = None) -> int | None:
    """The patch side in pixels of a backbone with these options; None for a backbone without patches."""
    if name in VITS or stem == "patch" or (name, stem) == ("patch-resnet", "auto"):
        return patch_size or BACKBONES[name]().patch_size
    return None


def heads_of(name: str, heads: int | None = None) -> int | None:
    """The number of attention heads of a ViT, whose `heads` option is given; None for other networks."""
    return (heads or VITS[name]().heads) if name in VITS else None


def token_width(name: str, width: int | None = None) -> int:
    """Width of the tokens of a ViT of this name, whose `width` option is given; 0 for other backbones."""
    return (width or VITS[name]().width) if name in VITS else 0


def without_drop_path(module: nn.Module) -> nn.Module:
    """The same network with the same parameters, but without stochastic depth, for targets and teachers."""
    return module.clone(drop_path=0.0) if isinstance(module, ViT) else module


def with_views(module: nn.Module, views: int) -> nn.Module:
    """The same network for batches with `views` adjacent rows per image: in training BatchNorm normalises each view by its own
    statistics, as one forward pass per view would, and the running statistics are updated with one view after another."""
    own = isinstance(module, ResNet | SimCLRProjector | BYOLMLP | DINOHead | MLPHead)
    return module.clone(views=views) if own else module


def initial_of(module: nn.Module) -> Initial:
    """The initialisation for heads on this backbone: that of a ResNet's convolutions; "release" on other backbones."""
    return module.initial if isinstance(module, ResNet) else "release"


def init(module: nn.Module, key: Key[Array, ""], example: Float[Array, "..."]) -> tuple[PyTree, PyTree]:
    """Parameters and BatchNorm statistics of `module` for inputs like `example`; the statistics may be an empty dict."""
    variables = module.init(key, example, train=False)
    # A module without parameters (a head with no layers) has no "params" collection.
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
    """Apply `module` to `x`, and return the output and the updated BatchNorm statistics.

    Training normalises with batch statistics; evaluation uses the running ones and leaves them unchanged. `key` is for the
    random numbers of training (drop-path); `options` are passed to the module.
    """
    variables = {"params": params, "batch_stats": statistics}
    if not train:
        return module.apply(variables, x, train=False, **options), statistics
    rngs = None if key is None else {"drop_path": key}
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs, **options)
    return y, updated.get("batch_stats", {})
