"""Backbones' weights under PyTorch's names, and safetensors files of them; nothing here pickles or unpickles.

ResNets have torchvision's names (`models/resnet.py`; timm's ResNets have them too) without the classifier `fc`:
`conv1.weight`, `bn1.{weight,bias,running_mean,running_var}`, `layer1.0.conv1.weight`, `layer1.0.downsample.{0,1}`, ... The
names are the same for every stem; torchvision builds only the "imagenet" one, so for the others its `conv1` has to be
replaced and its `maxpool` left out, and with `network.stem_relu` False its `relu` (which is the stem's alone) as well.

ViTs have the names of DINO's release (`vision_transformer.py`) without the head: `cls_token`, `pos_embed`,
`patch_embed.proj`, `blocks.0.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}`, `norm`, ... timm's `vision_transformer.py`
has the same names, shapes and forward for what it builds as `vit_small_patch16_224` and the like, with `norm.eps` 1e-6. It
differs where positions are resized: timm goes to the grid itself and antialiases (`positions="antialiased"`), the release does
neither. Its DINOv2 models add `reg_token`, `blocks.0.{ls1,ls2}.gamma` and a packed SwiGLU; its DINOv3 models (`models/eva.py`)
have `blocks.0.{gamma_1,gamma_2}`, no `pos_embed`, and `attn.{q_bias,v_bias}` where there is a bias. Variants with `dist_token`,
or `fc_norm` in place of `norm`, do not fit. The number of heads is in no tensor: a file fits a ViT of any number.

What no tensor says either is how images were normalised: released weights want ImageNet's mean and standard deviation.
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

# Modules whose name in torch is another; the numbered ones are in `_torch_module`.
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
# Layer scale has other names in timm's DINOv3 than in its DINOv2.
_SCALES = {"ls1": "ls1.gamma", "ls2": "ls2.gamma"}
_ROTARY_SCALES = {"ls1": "gamma_1", "ls2": "gamma_2"}
_PATCHES = "patch_embed.proj.weight"
_SHOWN = 3

# The format's types that become arrays, little-endian. The package's own reader knows bfloat16 in late versions only.
_SIZES = {"F": (8, 4, 2), "I": (8, 4, 2, 1), "U": (8, 4, 2, 1)}
_DTYPES = {f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind, sizes in _SIZES.items() for size in sizes}
_DTYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(np.bool_)}


def to_torch(backbone: Any, params: PyTree, batch_stats: PyTree) -> dict[str, np.ndarray]:
    """A backbone's weights as a PyTorch state dict.

    Convolutions are [out, in, height, width], dense layers [out, in]. BatchNorm's `num_batches_tracked` is not written:
    torch's `load_state_dict` does without it, a strict one too. Running variances are written as they are, which is the
    biased estimate; torch itself keeps the unbiased one.

    Args:
      backbone: a `ResNet` or a `ViT`, as `networks.build_backbone` makes them.
      params: its parameters.
      batch_stats: its BatchNorm statistics; empty for a ViT.

    Returns:
      name -> a contiguous float32 array of its own, by the names at the top of this module.

    Raises:
      InputError: where the trees are not this backbone's, or the backbone has no names in torch, as a ResNet without
        BatchNorm has none.
    """
    trees = _check_trees(backbone, "params and batch_stats", params, batch_stats)
    # A copy also where the layout stays: a view of a buffer that jax may reuse is no export.
    return {
        _torch_name(backbone, path): np.array(_to_torch_layout(backbone, path, np.asarray(leaf)), np.float32, order="C")
        for path, leaf in trees.items()
    }


def from_torch(
    backbone: Any, tensors: Mapping[str, np.ndarray], *, like_params: PyTree, like_stats: PyTree
) -> tuple[PyTree, PyTree]:
    """Parameters and BatchNorm statistics of a backbone from a PyTorch state dict; `to_torch` backwards, bit for bit.

    Quietly left aside are what PyTorch files hold beside the backbone: classifiers and heads (`fc.*`, `head.*`), BatchNorm's
    `num_batches_tracked`, and the prefixes `module.` and `backbone.`, however many, that wrappers and DINO's checkpoints
    put before names.

    Args:
      backbone: a `ResNet` or a `ViT`.
      tensors: name -> array, as `load_safetensors` gives them; of any floating type.
      like_params: parameters of the backbone, or their shapes (`jax.eval_shape` of `networks.init`).
      like_stats: the same of its BatchNorm statistics; empty for a ViT.

    Returns:
      (params, batch_stats): trees like those given, of float32 jax arrays.

    Raises:
      InputError: where tensors are missing, left over or of another shape, naming the first of each; where two names are one
        without their prefixes; where the trees are not this backbone's.
    """
    trees = _check_trees(backbone, "like_params and like_stats", like_params, like_stats)
    found = _without_wrapping(tensors)
    # Only the shape of the zero is of interest; broadcast, it takes no memory.
    zeros = {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in trees.items()}
    wanted = {_torch_name(backbone, path): _to_torch_layout(backbone, path, zero).shape for path, zero in zeros.items()}
    differences = _differences({name: np.shape(tensor) for name, tensor in found.items()}, wanted)
    if differences:
        raise InputError(
            f"tensors are not those of this {type(backbone).__name__}: {differences}"
            f"{_right_size(found, wanted)}; build the backbone with the options of the one that they come from."
        )

    def fill(path: tuple[Any, ...], _leaf: Any) -> jax.Array:
        name = _path(path)
        tensor = np.asarray(found[_torch_name(backbone, name)], np.float32)
        # A copy: on CPU jax would otherwise read, for as long as it lives, from memory that the caller may write to.
        return jnp.array(_from_torch_layout(name, tensor), copy=True)

    params = jax.tree_util.tree_map_with_path(fill, like_params)
    return params, jax.tree_util.tree_map_with_path(fill, like_stats)


def save_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays to a safetensors file in one step: a reader, or a crash, finds the file as it was or the new one whole.

    Args:
      path: of the file, which is replaced if there is one; its folder exists.
      tensors: name -> array.
      metadata: what to say of them, text by text.

    Raises:
      InputError: where the file cannot be written, the disk being full for one, or the format has no such type of array.
    """
    path = expanded(path)
    # The package writes an array's memory as it lies, so that a transposed one would come back scrambled.
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
    """The arrays and the metadata of a safetensors file; half-precision arrays (float16, bfloat16) come as float32.

    Raises:
      InputError: where the file cannot be read, is no safetensors file or a truncated one, or holds arrays of fewer than
        8 bits or of 8-bit floats.
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
            f"{path} is not a whole safetensors file ({_plain(error)}); give one that was copied to its end, and save "
            "PyTorch's pickles (.pth, .pt, .bin) with safetensors.torch.save_file first."
        ) from error
    tensors = {}
    for name, entry in stored:
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"{path} holds {name} as {entry['dtype']}, which is not read; it must be one of {', '.join(_DTYPES)}."
            )
        tensor = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = tensor.astype(np.float32) if entry["dtype"] in ("F16", "BF16") else tensor
    # Eight bytes of length, then a header of JSON, which was found sound above.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__") or {}


def check_names(backbone: Any) -> None:
    """Raise InputError unless the weights of `backbone` have names in torch."""
    if not isinstance(backbone, ResNet | ViT):
        raise InputError(f"backbone is of type {type(backbone).__name__}; only a ResNet and a ViT have names in torch.")
    if isinstance(backbone, ResNet) and backbone.norm != "batch":
        raise InputError(
            f"network.norm is {backbone.norm}; only ResNets with BatchNorm, of network.norm batch, have names in torch."
        )


def _path(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _torch_name(backbone: Any, path: str) -> str:
    *modules, leaf = path.split("/")
    scales = _ROTARY_SCALES if isinstance(backbone, ViT) and backbone.positions == "rope" else _SCALES
    return ".".join([*map(_torch_module, modules), (_LEAVES | scales).get(leaf, leaf)])


def _torch_module(name: str) -> str:
    # Blocks count from 1 here and the layers in them from 0; there it is the other way round.
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
    if path == "patch_embed/kernel":
        # A dense layer here, whose rows are a patch's rows, columns and channels; a convolution there.
        leaf = leaf.reshape(backbone.patch_size, backbone.patch_size, -1, leaf.shape[-1])
    return leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T


def _from_torch_layout(path: str, tensor: np.ndarray) -> np.ndarray:
    if not path.endswith("kernel"):
        return tensor
    leaf = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return leaf.reshape(-1, leaf.shape[-1]) if path == "patch_embed/kernel" else leaf


def _check_trees(backbone: Any, field: str, params: PyTree, batch_stats: PyTree) -> dict[str, Any]:
    """Path -> leaf of both trees, which have to be those that the backbone makes: no tensor is to be lost on the way."""
    check_names(backbone)
    trees = _leaves(params, batch_stats)
    stem = trees.get("patch_embed/kernel" if isinstance(backbone, ViT) else "stem_conv/kernel")
    if isinstance(backbone, ViT):
        side = backbone.image_size
        channels = 3 if stem is None else stem.shape[0] // backbone.patch_size**2
    else:
        # Large enough for maps never to be a single pixel, of which a stride of 2 would change nothing.
        side = 4 * backbone.patch_size * 2 ** len(backbone.stages)
        channels = 3 if stem is None else stem.shape[2]
    example = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    made = jax.eval_shape(lambda key, x: init(backbone, key, x), jax.random.key(0), example)
    wanted = {path: leaf.shape for path, leaf in _leaves(*made).items()}
    differences = _differences({path: np.shape(leaf) for path, leaf in trees.items()}, wanted)
    if differences:
        raise InputError(
            f"{field} are not those of this {type(backbone).__name__}: {differences}; "
            "they must be as networks.init makes them for it."
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
                f"tensors hold both {full_names[name]} and {full_name}, which are one name without their prefixes; "
                "give those of one network."
            )
        full_names[name] = full_name
    return {name: tensors[full_name] for name, full_name in full_names.items()}


def _differences(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What sets `found` apart from `wanted`, as part of a sentence; empty where nothing does."""
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
    """The image size that a ViT's positions in a file are for, where it is another one."""
    positions, patches = (np.shape(found[name]) if name in found else () for name in ("pos_embed", _PATCHES))
    if len(positions) != 3 or len(patches) != 4 or positions[1] in (0, wanted.get("pos_embed", positions)[1]):
        return ""
    grid = math.isqrt(positions[1] - 1)
    if grid**2 != positions[1] - 1:
        return ""
    return f"; its positions are a grid of {grid} x {grid}, for image_size={grid * patches[-1]} at patch_size={patches[-1]}"


def _plain(error: Exception) -> str:
    """The package's message without its own beginning, fit for the middle of a sentence."""
    return str(error).split(": ", 1)[-1].rstrip(".")
