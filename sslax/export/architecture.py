"""The architecture of a network, read from its tensors: the options of `networks.build_backbone` that fit a file.

Tensors tell the width, the depth, the patch size, the registers, layer scale, the MLP, the bias of queries and values, the kind
of positions and their grid; of a ResNet the stem, the width and the number of blocks. No tensor tells the rest. Files that
`sslax export` and `sslax finetune` write have it in their metadata. For other files it is assumed, and `Architecture.assumed`
names it:

- heads: 64 channels each, as in nearly all released ViTs. At a width of 1280 with learned positions it is 16 heads (ViT-H), at
  4096 with rotary ones 32 (DINOv3's 7B). MoCo v3's ViT-S differs: it has 12 heads.
- positions: "antialiased", as in timm and DINOv2. It matters only for images of another size than the positions'.
- norm_epsilon: 1e-6, or 1e-5 with rotary positions (DINOv3).
- image_size: that of the positions; without learned positions, the multiple of the patch size nearest to 224. A ResNet with the
  stem for small images takes 32.
- mean and std: ImageNet's.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sslax.errors import InputError
from sslax.export.names import PATCHES
from sslax.export.released import networks_of, preferred, timm_names
from sslax.networks import BACKBONES, RESNETS, VITS
from sslax.networks.resnet import BasicBlock, Bottleneck
from sslax.networks.vit import hidden_width

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Channels = tuple[float, float, float]
_USUAL, _SMALL = 224, 32
_HEAD = 64
_STEMS = ("imagenet", "small", "patch")
# Options of a ViT that tensors do not tell, or only in part, and metadata may.
_UNTOLD = ("positions", "norm_epsilon", "layer_scale")


class Architecture(NamedTuple):
    """What a file's tensors and metadata tell about its network.

    Attributes:
      options: arguments of `networks.build_backbone`, which are also the fields of `config.NetworkConfig`.
      image_size: side of the images in pixels.
      mean: mean per channel to subtract from RGB in [0, 1]; None subtracts nothing.
      std: standard deviation per channel to divide by; None divides by nothing.
      assumed: names of the values that neither tensors nor metadata tell.
    """

    options: dict[str, Any]
    image_size: int
    mean: Channels | None
    std: Channels | None
    assumed: tuple[str, ...]


def architecture_of(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Architecture:
    """The architecture of the network in a file.

    Args:
      tensors: a dict from name to array, as from `load_weights`.
      metadata: the texts of a safetensors file.

    Raises:
      InputError: if the tensors are not those of a ViT or ResNet that this library has.
    """
    networks = networks_of(tensors)
    whole = {prefix: found for prefix, found in networks.items() if {PATCHES, "conv1.weight"} & found.keys()}
    if not whole:
        raise InputError(f"tensors are neither those of a ViT nor of a ResNet: {_strange(tensors)}.")
    found = timm_names(whole[preferred(whole) or max(whole, key=lambda prefix: len(whole[prefix]))])
    shapes = {name: tuple(np.shape(tensor)) for name, tensor in found.items()}
    said = _said(metadata or {})
    if PATCHES in shapes:
        return _vit(shapes, said)
    return _resnet(shapes, said)


def _strange(tensors: Mapping[str, np.ndarray]) -> str:
    if not tensors:
        return "there are none"
    first = ", ".join(list(tensors)[:3])
    hint = "there must be patch_embed.proj.weight or conv1.weight, as under timm's names"
    if any(re.search(r"(^|\.)embeddings\.|encoder\.layers?\.0\.", name) for name in tensors):
        hint += "; these are names of transformers, and timm's repositories hold the same weights under timm's"
    return f"they begin with {first}; {hint}"


def _said(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What metadata of this library's own files tells: options of the network, and image_size, mean and std."""
    said: dict[str, Any] = {}
    try:
        for name in ("image_size", "mean", "std"):
            if name in metadata:
                said[name] = json.loads(metadata[name])
        # `sslax finetune` writes the options as "network", `sslax export` the name alone.
        options = json.loads(metadata.get("network_options", "null") if "kind" not in metadata else metadata["network"])
        said["options"] = options or {"name": metadata.get("network")}
        for name in ("heads", "stem"):
            if said["options"].get(name) in (None, "auto") and f"network.{name}" in metadata:
                text = metadata[f"network.{name}"]
                said["options"][name] = int(text) if name == "heads" else text
    except (ValueError, KeyError, TypeError, AttributeError):
        # Other programs write metadata too.
        return {"options": {}}
    return said


def _vit(shapes: Mapping[str, tuple[int, ...]], said: Mapping[str, Any]) -> Architecture:
    patches = shapes[PATCHES]
    if len(patches) != 4 or patches[1] != 3 or patches[2] != patches[3]:
        raise InputError(f"{PATCHES} has shape {list(patches)}; it must be [width, 3, patch, patch].")
    width, patch = patches[0], patches[-1]
    depth = 1 + max((int(name.split(".")[1]) for name in shapes if re.match(r"blocks\.\d+\.", name)), default=-1)
    into, back = (shapes.get(f"blocks.0.mlp.{name}.weight", ()) for name in ("fc1", "fc2"))
    if not depth or len(into) != 2 or len(back) != 2 or into[0] not in (back[1], 2 * back[1]):
        raise InputError(
            f"{PATCHES} is that of a ViT, but there are no blocks with an MLP of two layers, or one gated."
        )
    rotary = "pos_embed" not in shapes
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    scaled = {"blocks.0.ls1.gamma", "blocks.0.gamma_1"} & shapes.keys()
    given = said["options"]
    told = {
        "width": width,
        "depth": depth,
        "patch_size": patch,
        "heads": given.get("heads"),
        "registers": registers,
        "layer_scale": 1e-5 if scaled else None,
        "mlp": "gelu" if into[0] == back[1] else "swiglu",
        "mlp_ratio": back[1] / width,
        "qkv_bias": bool({"blocks.0.attn.qkv.bias", "blocks.0.attn.q_bias"} & shapes.keys()),
        "norm_epsilon": 1e-5 if rotary else 1e-6,
        "positions": "rope" if rotary else "antialiased",
    }
    untold = ["heads", "norm_epsilon"] + ([] if rotary else ["positions"])
    told |= {name: given[name] for name in _UNTOLD if name in told and given.get(name) is not None}
    if rotary:
        told["positions"] = "rope"
    told["layer_scale"] = told["layer_scale"] if scaled else None
    own = given.get("name")
    if own not in VITS and given.get("heads") is None:
        told["heads"] = _heads(width, rotary)
    size = _size_of(shapes["pos_embed"], registers, patch) if not rotary else None
    options = _briefest(told, own if own in VITS else _vit_name(width, depth))
    assumed = tuple(name for name in untold if given.get(name) is None and not (name == "heads" and own in VITS))
    return _shown(options, size, max(1, round(_USUAL / patch)) * patch, said, assumed)


def _heads(width: int, rotary: bool) -> int:
    exception = {(1280, False): 16, (4096, True): 32}.get((width, rotary))
    # The largest number of at least 64 channels each that divides the width.
    return exception or next(heads for heads in range(max(1, width // _HEAD), 0, -1) if width % heads == 0)


def _vit_name(width: int, depth: int) -> str:
    for name, make in VITS.items():
        if (make().width, make().depth) == (width, depth):
            return name
    return "vit-small" if width >= VITS["vit-tiny"]().width else "vit-micro"


def _briefest(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The options without those that belong to the name anyway."""
    usual = VITS[name]()
    kept = {"name": name}
    for field, value in told.items():
        same = value is None or value == getattr(usual, field)
        if field == "mlp_ratio":
            same = hidden_width(told["width"], usual.mlp_ratio) == hidden_width(told["width"], value)
        if not same:
            kept[field] = value
    return kept


def _size_of(positions: tuple[int, ...], registers: int, patch: int) -> int:
    # With registers [CLS] has no position.
    cells = positions[1] - (0 if registers else 1) if len(positions) == 3 else 0
    side = math.isqrt(max(cells, 0))
    if not side or side * side != cells:
        raise InputError(
            f"pos_embed has shape {list(positions)}; it must be [1, tokens, width] with positions of a square grid"
            f"{'' if registers else ' after that of [CLS]'}."
        )
    return side * patch


def _resnet(shapes: Mapping[str, tuple[int, ...]], said: Mapping[str, Any]) -> Architecture:
    stem = shapes["conv1.weight"]
    if len(stem) != 4 or stem[1] != 3 or stem[2] != stem[3]:
        raise InputError(f"conv1.weight has shape {list(stem)}; it must be [width, 3, side, side].")
    blocks: dict[int, int] = {}
    for name in shapes:
        if match := re.match(r"layer(\d+)\.(\d+)\.", name):
            blocks[int(match[1])] = max(blocks.get(int(match[1]), 0), int(match[2]) + 1)
    stages = tuple(blocks[stage] for stage in sorted(blocks))
    kind: Any = Bottleneck if "layer1.0.conv3.weight" in shapes else BasicBlock
    fitting = [name for name, make in RESNETS.items() if (tuple(make().stages), make().block) == (stages, kind)]
    if not fitting:
        raise InputError(
            f"tensors are those of a ResNet with {', '.join(map(str, stages)) or 'no'} blocks ({kind.__name__}) in its stages; "
            f"they must be those of {', '.join(RESNETS)}."
        )
    name, given = fitting[0], said["options"]
    side = stem[-1]
    found = {7: "imagenet", 3: "small"}.get(side, "patch")
    options: dict[str, Any] = {"name": name, "stem": given.get("stem") if given.get("stem") in _STEMS else found}
    if options["stem"] == "patch":
        options["patch_size"] = side
    if stem[0] != BACKBONES[name]().width:
        options["width"] = stem[0]
    if given.get("stem_relu") is False:
        options["stem_relu"] = False
    usual = {"imagenet": _USUAL, "small": _SMALL}.get(options["stem"], 8 * side)
    return _shown(options, None, usual, said, ())


def _shown(
    options: dict[str, Any], size: int | None, usual: int, said: Mapping[str, Any], assumed: tuple[str, ...]
) -> Architecture:
    """The architecture with how images are shown to it: as the metadata tells, or as released networks expect it."""
    if size is None:
        size = said.get("image_size")
        assumed += () if size is not None else ("image_size",)
    mean: Channels | None
    std: Channels | None
    mean, std = IMAGENET
    if "mean" in said and "std" in said:
        mean, std = (None if said[name] is None else tuple(said[name]) for name in ("mean", "std"))
    else:
        assumed += ("mean", "std")
    return Architecture(options, size or usual, mean, std, assumed)
