"""Names and layouts of a backbone's tensors in PyTorch, one tensor at a time."""

import re
from typing import Any

import jax
import numpy as np

from sslax.networks import ViT

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
# Layer scale has other names in timm's DINOv3 than in its DINOv2.
_SCALES = {"ls1": "ls1.gamma", "ls2": "ls2.gamma"}
_ROTARY_SCALES = {"ls1": "gamma_1", "ls2": "gamma_2"}
PATCHES = "patch_embed.proj.weight"


def leaf_path(path: tuple[Any, ...]) -> str:
    """A leaf's place in a tree of parameters: "stem_conv/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def torch_name(backbone: Any, path: str) -> str:
    """The name in torch of the leaf at `path`."""
    *modules, leaf = path.split("/")
    scales = _ROTARY_SCALES if isinstance(backbone, ViT) and backbone.positions == "rope" else _SCALES
    return ".".join([*map(_torch_module, modules), (_LEAVES | scales).get(leaf, leaf)])


def _torch_module(name: str) -> str:
    # Here blocks count from 1 and the layers in a block from 0; in torch it is the other way round.
    if match := re.fullmatch(r"stage(\d+)_block(\d+)", name):
        return f"layer{match[1]}.{int(match[2]) - 1}"
    if match := re.fullmatch(r"block(\d+)", name):
        return f"blocks.{int(match[1]) - 1}"
    if match := re.fullmatch(r"(Conv|BatchNorm)_(\d+)", name):
        return f"{'conv' if match[1] == 'Conv' else 'bn'}{int(match[2]) + 1}"
    return _MODULES.get(name, name)


def to_torch_layout(backbone: Any, path: str, leaf: np.ndarray) -> np.ndarray:
    """A leaf as torch stores it: convolutions [out, in, height, width], dense layers [out, in]."""
    if not path.endswith("kernel"):
        return leaf
    if path == "patch_embed/kernel":
        # Here it is a dense layer over a patch's flattened rows, columns and channels; in torch it is a convolution.
        leaf = leaf.reshape(backbone.patch_size, backbone.patch_size, -1, leaf.shape[-1])
    return leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T


def from_torch_layout(path: str, tensor: np.ndarray) -> np.ndarray:
    """`to_torch_layout` backwards."""
    if not path.endswith("kernel"):
        return tensor
    leaf = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
    return leaf.reshape(-1, leaf.shape[-1]) if path == "patch_embed/kernel" else leaf
