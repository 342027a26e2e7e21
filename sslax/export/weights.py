"""A backbone's weights to and from a PyTorch state dict."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sslax.errors import InputError
from sslax.export.names import PATCHES, from_torch_layout, leaf_path, to_torch_layout, torch_name
from sslax.export.released import choose, networks_of
from sslax.networks import ResNet, ViT, init, resize_positions

_SHOWN = 3


def to_torch(backbone: Any, params: PyTree, batch_stats: PyTree) -> dict[str, np.ndarray]:
    """Convert a backbone's weights to a PyTorch state dict.

    Convolutions are [out, in, height, width], dense layers [out, in]. BatchNorm's `num_batches_tracked` is not written;
    torch's `load_state_dict` does not need it, even with `strict=True`. Running variances are the biased estimate; torch
    itself keeps the unbiased one.

    Args:
      backbone: a `ResNet` or a `ViT` from `networks.build_backbone`.
      params: its parameters.
      batch_stats: its BatchNorm statistics; empty for a ViT.

    Returns:
      A dict from torch's name (see the top of this module) to a contiguous float32 copy of the array.

    Raises:
      InputError: if the trees do not belong to this backbone, or the backbone has no torch names, such as a ResNet without
        BatchNorm.
    """
    trees = _check_trees(backbone, "params and batch_stats", params, batch_stats)
    # Always a copy, even if the layout stays the same: jax may reuse the buffer that a view would refer to.
    return {
        torch_name(backbone, path): np.array(to_torch_layout(backbone, path, np.asarray(leaf)), np.float32, order="C")
        for path, leaf in trees.items()
    }


def from_torch(
    backbone: Any,
    tensors: Mapping[str, np.ndarray],
    *,
    like_params: PyTree,
    like_stats: PyTree,
    resize: bool = False,
) -> tuple[PyTree, PyTree]:
    """Convert a PyTorch state dict to a backbone's parameters and BatchNorm statistics: the exact inverse of `to_torch`.

    It ignores what PyTorch files contain besides the backbone: classifiers and heads (`fc.*`, `head.*`, MAE's decoder, ...) and
    BatchNorm's `num_batches_tracked`. It removes prefixes that wrappers and checkpoints add to names, such as `module.`,
    `backbone.`, `teacher.backbone.`, `encoder_q.` and `base_encoder.`; of several networks it takes the one that fits, and of
    those that fit the teacher rather than the student, the query encoder rather than the key encoder. The names of DINOv2's and
    DINOv3's releases are translated to timm's.

    Args:
      backbone: a `ResNet` or a `ViT`.
      tensors: a dict from name to array, as from `load_weights`; any floating-point type.
      like_params: parameters of the backbone, or their shapes (`jax.eval_shape` of `networks.init`).
      like_stats: BatchNorm statistics of the backbone, or their shapes; empty for a ViT.
      resize: resize learned positions of another grid to that of the backbone's image size, in the way that its `positions`
        name. False makes them an error.

    Returns:
      (params, batch_stats): trees with the structure of the given ones, with float32 jax arrays as leaves.

    Raises:
      InputError: if tensors are missing, unexpected or have a different shape (the message names the first of each); if several
        networks in the file fit; if the trees do not belong to this backbone.
    """
    trees = _check_trees(backbone, "like_params and like_stats", like_params, like_stats)
    # Only the shapes of these zeros are used. A broadcast zero takes no memory.
    zeros = {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in trees.items()}
    wanted = {torch_name(backbone, path): to_torch_layout(backbone, path, zero).shape for path, zero in zeros.items()}
    found = choose(networks_of(tensors), set(wanted))
    if resize:
        found = _resized(found, backbone)
    differences = _differences({name: np.shape(tensor) for name, tensor in found.items()}, wanted)
    if differences:
        raise InputError(
            f"tensors are not those of this {type(backbone).__name__}: {differences}"
            f"{_right_size(found, wanted)}; build the backbone with the options of the network that they come from."
        )

    def fill(path: tuple[Any, ...], _leaf: Any) -> jax.Array:
        name = leaf_path(path)
        tensor = np.asarray(found[torch_name(backbone, name)], np.float32)
        # A copy: on CPU the jax array would otherwise share memory that the caller may still write to. NumPy's, because
        # `jnp.array` would compile a program for every shape.
        return jax.device_put(np.array(from_torch_layout(name, tensor)))

    params = jax.tree_util.tree_map_with_path(fill, like_params)
    return params, jax.tree_util.tree_map_with_path(fill, like_stats)


def check_names(backbone: Any) -> None:
    """Raise InputError unless the weights of `backbone` have torch names."""
    if not isinstance(backbone, ResNet | ViT):
        raise InputError(
            f"backbone is of type {type(backbone).__name__}; it must be a ResNet or a ViT, because only these have "
            "names in torch."
        )
    if isinstance(backbone, ResNet) and backbone.norm != "batch":
        raise InputError(
            f"network.norm is {backbone.norm}; it must be batch, because only ResNets with BatchNorm have names in torch."
        )


def _check_trees(backbone: Any, field: str, params: PyTree, batch_stats: PyTree) -> dict[str, Any]:
    """Leaves of both trees by path. Raises unless they have the backbone's paths and shapes, so that no tensor is lost."""
    check_names(backbone)
    trees = _leaves(params, batch_stats)
    stem = trees.get("patch_embed/kernel" if isinstance(backbone, ViT) else "stem_conv/kernel")
    if isinstance(backbone, ViT):
        side = backbone.image_size
        channels = 3 if stem is None else stem.shape[0] // backbone.patch_size**2
    else:
        # Large enough that no feature map has a single pixel, on which a stride of 2 would have no effect.
        side = 4 * backbone.patch_size * 2 ** len(backbone.stages)
        channels = 3 if stem is None else stem.shape[2]
    example = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    made = jax.eval_shape(lambda key, x: init(backbone, key, x), jax.random.key(0), example)
    wanted = {path: leaf.shape for path, leaf in _leaves(*made).items()}
    differences = _differences({path: np.shape(leaf) for path, leaf in trees.items()}, wanted)
    if differences:
        raise InputError(
            f"{field} are not those of this {type(backbone).__name__}: {differences}; "
            "they must have the structure that networks.init gives for it."
        )
    return trees


def _leaves(params: PyTree, batch_stats: PyTree) -> dict[str, Any]:
    return {leaf_path(path): leaf for tree in (params, batch_stats) for path, leaf in jax.tree.leaves_with_path(tree)}


def _differences(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The differences of `found` from `wanted`, as part of a sentence; empty if there are no differences."""
    differ = [name for name in wanted if name in found and found[name] != wanted[name]]
    kinds = (
        ("missing", [name for name in wanted if name not in found]),
        ("left over", [name for name in found if name not in wanted]),
        ("of another shape", [f"{name} {list(found[name])} in place of {list(wanted[name])}" for name in differ]),
    )
    return "; ".join(f"{kind} {_first(names)}" for kind, names in kinds if names)


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _grid(tensors: Mapping[str, np.ndarray]) -> int | None:
    """The side of the grid of a ViT's learned positions; None if there are none, or the grid is not square."""
    shape = np.shape(tensors["pos_embed"]) if "pos_embed" in tensors else ()
    if len(shape) != 3:
        return None
    # With registers [CLS] has no position.
    cells = shape[1] - (0 if "reg_token" in tensors else 1)
    side = math.isqrt(max(cells, 0))
    return side if side and side**2 == cells else None


def _resized(tensors: dict[str, np.ndarray], backbone: Any) -> dict[str, np.ndarray]:
    """The tensors with positions for the backbone's grid."""
    side = _grid(tensors)
    if side is None or not isinstance(backbone, ViT) or backbone.positions == "rope":
        return tensors
    cells = backbone.image_size // backbone.patch_size
    positions = jnp.asarray(tensors["pos_embed"], jnp.float32)
    return tensors | {
        "pos_embed": np.asarray(resize_positions(positions, side, (cells, cells), how=backbone.positions))
    }


def _right_size(found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The image size of a ViT's positions in a file, as part of a sentence; empty if it is not a different size."""
    positions, patches = (np.shape(found[name]) if name in found else () for name in ("pos_embed", PATCHES))
    if len(positions) != 3 or len(patches) != 4 or positions[1] in (0, wanted.get("pos_embed", positions)[1]):
        return ""
    grid = _grid(found)
    if grid is None:
        return ""
    return f"; its positions are a grid of {grid} x {grid}, for image_size={grid * patches[-1]} at patch_size={patches[-1]}"
