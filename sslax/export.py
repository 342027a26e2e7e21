"""Conversion of a backbone's weights to and from PyTorch's names, and safetensors files. Nothing here uses pickle.

ResNets use torchvision's names (`models/resnet.py`; timm's ResNets use the same) without the classifier `fc`:
`conv1.weight`, `bn1.{weight,bias,running_mean,running_var}`, `layer1.0.conv1.weight`, `layer1.0.downsample.{0,1}`, ... The
names are the same for every stem. torchvision builds only the "imagenet" stem. For the other stems, replace its `conv1` and
remove its `maxpool`; with `network.stem_relu` False also remove its `relu`, which only the stem uses.

ViTs use the names of DINO's release (`vision_transformer.py`) without the head: `cls_token`, `pos_embed`,
`patch_embed.proj`, `blocks.0.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}`, `norm`, ... timm's `vision_transformer.py`
has the same names, shapes and forward pass for models such as `vit_small_patch16_224`, with `norm.eps` 1e-6. It differs when
positions are resized: timm resizes to the exact grid with antialiasing, the release does neither. timm's variants with extra
parts (`dist_token`, `reg_token`, layer scale, `fc_norm` instead of `norm`) do not fit. No tensor stores the number of heads:
a file fits a ViT with any number of heads.

No tensor stores the normalisation of the images either: released weights expect ImageNet's mean and standard deviation.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.networks import ResNet, ViT, init

# Modules that have a different name in torch; `_torch_module` translates the numbered ones.
_MODULES = {
    "stem_conv": "conv1",
    "stem_norm": "bn1",
    "shortcut_conv": "downsample.0",
    "shortcut_norm": "downsample.1",
    "patch_embed": "patch_embed.proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_PATCHES = "patch_embed.proj.weight"
_SHOWN = 3

# The safetensors types that can be read, little-endian. Only recent versions of the package's own reader support bfloat16.
_SIZES = {"F": (8, 4, 2), "I": (8, 4, 2, 1), "U": (8, 4, 2, 1)}
_DTYPES = {f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind, sizes in _SIZES.items() for size in sizes}
_DTYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(np.bool_)}


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
        _torch_name(path): np.array(_to_torch_layout(backbone, path, np.asarray(leaf)), np.float32, order="C")
        for path, leaf in trees.items()
    }


def from_torch(
    backbone: Any, tensors: Mapping[str, np.ndarray], *, like_params: PyTree, like_stats: PyTree
) -> tuple[PyTree, PyTree]:
    """Convert a PyTorch state dict to a backbone's parameters and BatchNorm statistics: the exact inverse of `to_torch`.

    It ignores what PyTorch files contain besides the backbone: classifiers and heads (`fc.*`, `head.*`) and BatchNorm's
    `num_batches_tracked`. It removes the prefixes `module.` and `backbone.`, also repeated ones, which wrappers and DINO's
    checkpoints add to names.

    Args:
      backbone: a `ResNet` or a `ViT`.
      tensors: a dict from name to array, as from `load_safetensors`; any floating-point type.
      like_params: parameters of the backbone, or their shapes (`jax.eval_shape` of `networks.init`).
      like_stats: BatchNorm statistics of the backbone, or their shapes; empty for a ViT.

    Returns:
      (params, batch_stats): trees with the structure of the given ones, with float32 jax arrays as leaves.

    Raises:
      InputError: if tensors are missing, unexpected or have a different shape (the message names the first of each); if two
        names are the same without their prefixes; if the trees do not belong to this backbone.
    """
    trees = _check_trees(backbone, "like_params and like_stats", like_params, like_stats)
    found = _without_wrapping(tensors)
    # Only the shapes of these zeros are used. A broadcast zero takes no memory.
    zeros = {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in trees.items()}
    wanted = {_torch_name(path): _to_torch_layout(backbone, path, zero).shape for path, zero in zeros.items()}
    differences = _differences({name: np.shape(tensor) for name, tensor in found.items()}, wanted)
    if differences:
        raise InputError(
            f"tensors are not those of this {type(backbone).__name__}: {differences}"
            f"{_right_size(found, wanted)}; build the backbone with the options of the network that they come from."
        )

    def fill(path: tuple[Any, ...], _leaf: Any) -> jax.Array:
        name = _path(path)
        # A copy: on CPU the jax array would otherwise share memory that the caller may still write to.
        return jnp.array(_from_torch_layout(name, np.asarray(found[_torch_name(name)], np.float32)), copy=True)

    params = jax.tree_util.tree_map_with_path(fill, like_params)
    return params, jax.tree_util.tree_map_with_path(fill, like_stats)


def save_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays to a safetensors file in one step. A reader, or a crash, finds the old or the new file, both complete.

    Args:
      path: path of the file, in an existing folder; an existing file is replaced.
      tensors: a dict from name to array.
      metadata: texts by name, stored in the file's header.

    Raises:
      InputError: if the file cannot be written, for example because the disk is full, or the format does not support the
        type of an array.
    """
    path = expanded(path)
    # The package writes an array's memory as it is laid out, so a transposed array would be read back scrambled.
    dense = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
    try:
        data = safetensors.numpy.save(dense, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise InputError(f"tensors cannot be written to {path} as safetensors: {_plain(error)}.") from error
    try:
        write_atomically(path, data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def load_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file. float16 and bfloat16 arrays are converted to float32.

    Raises:
      InputError: if the file cannot be read, is not a safetensors file, is truncated, or has arrays of 8-bit floats or of
        types smaller than 8 bits.
    """
    path = expanded(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        stored = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is not a complete safetensors file ({_plain(error)}); copy it again, or, for a PyTorch pickle (.pth, "
            ".pt, .bin), save its tensors with safetensors.torch.save_file first."
        ) from error
    tensors = {}
    for name, entry in stored:
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"{path} holds {name} as {entry['dtype']}, which is not supported; it must be one of {', '.join(_DTYPES)}."
            )
        tensor = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = tensor.astype(np.float32) if entry["dtype"] in ("F16", "BF16") else tensor
    # Eight bytes give the length of the JSON header after them; safetensors.deserialize has validated it above.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__") or {}


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


def _path(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _torch_name(path: str) -> str:
    *modules, leaf = path.split("/")
    return ".".join([*map(_torch_module, modules), _LEAVES.get(leaf, leaf)])


def _torch_module(name: str) -> str:
    # Here blocks count from 1 and the layers in a block from 0; in torch it is the other way round.
    if match := re.fullmatch(r"stage(\d+)_block(\d+)", name):
        return f"layer{match[1]}.{int(match[2]) - 1}"
    if match := re.fullmatch(r"block(\d+)", name):
        return f"blocks.{int(match[1]) - 1}"
    if match := re.fullmatch(r"(Conv|BatchNorm)_(\d+)", name):
        return f"{'conv' if match[1] == 'Conv' else 'bn'}{int(match[2]) + 1}"
    return _MODULES.get(name, name)


def _to_torch_layout(backbone: Any, path: str, leaf: np.ndarray) -> np.ndarray:
    if not path.endswith("kernel"):
        return leaf
    if _torch_name(path) == _PATCHES:
        # Here it is a dense layer over a patch's flattened rows, columns and channels; in torch it is a convolution.
        leaf = leaf.reshape(backbone.patch_size, backbone.patch_size, -1, leaf.shape[-1])
    return leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T


def _from_torch_layout(path: str, tensor: np.ndarray) -> np.ndarray:
    if not path.endswith("kernel"):
        return tensor
    leaf = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return leaf.reshape(-1, leaf.shape[-1]) if _torch_name(path) == _PATCHES else leaf


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
    return {_path(path): leaf for tree in (params, batch_stats) for path, leaf in jax.tree.leaves_with_path(tree)}


def _without_wrapping(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    full_names: dict[str, str] = {}
    for full_name in tensors:
        name = re.sub(r"^((module|backbone)\.)+", "", full_name)
        if name.startswith(("fc.", "head.")) or name.endswith("num_batches_tracked"):
            continue
        if name in full_names:
            raise InputError(
                f"tensors hold both {full_names[name]} and {full_name}, which are the same name without their prefixes; "
                "give the tensors of a single network."
            )
        full_names[name] = full_name
    return {name: tensors[full_name] for name, full_name in full_names.items()}


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


def _right_size(found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The image size of a ViT's positions in a file, as part of a sentence; empty if it is not a different size."""
    positions, patches = (np.shape(found[name]) if name in found else () for name in ("pos_embed", _PATCHES))
    if len(positions) != 3 or len(patches) != 4 or positions[1] in (0, wanted.get("pos_embed", positions)[1]):
        return ""
    grid = math.isqrt(positions[1] - 1)
    if grid**2 != positions[1] - 1:
        return ""
    return f"; its positions are a grid of {grid} x {grid}, for image_size={grid * patches[-1]} at patch_size={patches[-1]}"


def _plain(error: Exception) -> str:
    """The safetensors package's message without its prefix and final dot, to use inside a sentence."""
    return str(error).split(": ", 1)[-1].rstrip(".")
